"""Plots of benchmarks, as SVG files that a browser shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720, 300, 56, 34, 44


def bar_plot(file: Path, title: str, series: Mapping[str, Mapping[str, float]], unit: str = "%") -> None:
    """Write groups of bars side by side: series -> group -> value, at least 0; all series have the same groups."""
    groups = list(next(iter(series.values())))
    highest = max(max(values.values()) for values in series.values()) or 1.0
    bottom, step = HEIGHT - BOTTOM, (WIDTH - LEFT - 12) / len(groups)
    bar = 0.8 * step / len(series)
    parts = [f'<text x="{LEFT}" y="18" font-weight="bold">{escape(title)}</text>']
    for k in range(5):
        y = bottom - k * (bottom - TOP) / 4
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 12}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ccc"/>'
                     f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{k * highest / 4:.3g} {unit}</text>')
    for g, group in enumerate(groups):
        x = LEFT + g * step + 0.1 * step
        parts.append(f'<text x="{x + 0.4 * step:.1f}" y="{bottom + 16}" text-anchor="middle">{escape(group)}</text>')
        for s, values in enumerate(series.values()):
            height = values[group] / highest * (bottom - TOP)
            parts.append(f'<rect x="{x + s * bar:.1f}" y="{bottom - height:.1f}" width="{bar:.1f}" '
                         f'height="{height:.1f}" fill="{COLORS[s % len(COLORS)]}"/>')
    for s, name in enumerate(series):
        x = LEFT + s * (WIDTH - LEFT) / len(series)
        parts.append(f'<rect x="{x:.0f}" y="{HEIGHT - 18}" width="12" height="12" fill="{COLORS[s % len(COLORS)]}"/>'
                     f'<text x="{x + 18:.0f}" y="{HEIGHT - 8}">{escape(name)}</text>')
    _write_svg(file, parts)


def line_plot(file: Path, title: str, x: Sequence[float], lines: Mapping[str, Sequence[float]], x_label: str,
              unit: str) -> None:
    """Write lines over x, ascending; both axes begin at 0."""
    highest, right = max(max(values) for values in lines.values()) or 1.0, max(x) or 1.0
    bottom, width = HEIGHT - BOTTOM, WIDTH - LEFT - 24

    def place(value: float, y: float) -> str:
        return f"{LEFT + value / right * width:.1f},{bottom - y / highest * (bottom - TOP):.1f}"

    parts = [f'<text x="{LEFT}" y="18" font-weight="bold">{escape(title)}</text>',
             f'<text x="{WIDTH - 24}" y="{bottom + 30}" text-anchor="end">{escape(x_label)}</text>']
    for k in range(5):
        y = bottom - k * (bottom - TOP) / 4
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 24}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ccc"/>'
                     f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{k * highest / 4:.3g} {unit}</text>')
    for value in x:
        parts.append(f'<text x="{LEFT + value / right * width:.1f}" y="{bottom + 16}" text-anchor="middle">'
                     f'{value:.3g}</text>')
    for s, (name, values) in enumerate(lines.items()):
        color = COLORS[s % len(COLORS)]
        points = " ".join(place(value, y) for value, y in zip(x, values, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>'
                     f'<rect x="{LEFT + 150 * s}" y="{HEIGHT - 18}" width="12" height="12" fill="{color}"/>'
                     f'<text x="{LEFT + 150 * s + 18}" y="{HEIGHT - 8}">{escape(name)}</text>')
    _write_svg(file, parts)


def _write_svg(file: Path, parts: Sequence[str]) -> None:
    file.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
                    f'font-family="sans-serif" font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
                    f'{"".join(parts)}</svg>\n')
