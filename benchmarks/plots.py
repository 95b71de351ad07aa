"""Plots of benchmarks, as SVG files that a browser shows."""

from __future__ import annotations

from collections.abc import Mapping
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
    file.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
                    f'font-family="sans-serif" font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
                    f'{"".join(parts)}</svg>\n')
