"""Line plots of the benchmark as SVG files, a line for each tracker."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

import numpy as np

from panoptic_ros.evaluation.report.plots import line_plot

_COLORS = ("#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#cc79a7")  # Okabe and Ito's, told apart by everybody


def write_plot(file: Path, x: np.ndarray, lines: Mapping[str, np.ndarray], x_label: str, y_label: str) -> None:
    """Shares (N,), shown in per cent, over x (N,) ascending; at most six lines. What is NaN is left out."""
    style = "text{font:12px sans-serif;fill:#444}.grid{stroke:#ddd}polyline{fill:none;stroke-width:2}" + "".join(
        f"polyline.s{i}{{stroke:{color}}}" for i, color in enumerate(_COLORS))
    legend = "".join(f'<text x="{80 + 145 * i}" y="10" style="fill:{_COLORS[i]};font-weight:bold">{escape(name)}</text>'
                     for i, name in enumerate(lines))
    plot = line_plot(x, lines, x_label, y_label, percent=True)
    head, body = plot.split(">", 1)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'{head} xmlns="http://www.w3.org/2000/svg"><style>{style}</style>'
                    f'<rect width="100%" height="100%" fill="white"/>{body.removesuffix("</svg>")}{legend}</svg>\n')
