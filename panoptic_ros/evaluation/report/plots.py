"""The report's plots as SVG: their colours are the page's, so that they are light and dark with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from panoptic_ros.classes import ClassTable
from panoptic_ros.evaluation.report.tracks import TrackRow
from panoptic_ros.viewing.colors import object_colors

WIDTH = 960
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 12, 44
# A line of more values than this is drawn as the range and mean of so many bins.
MOST_POINTS = 480
MOST_ROWS = 60
_ROW_HEIGHT = 15
_NAME_WIDTH = 150


@dataclass(frozen=True)
class Axis:
    """Where values of low to high come to lie on begin to end, in the plot's units."""

    low: float
    high: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)

    def ticks(self, about: int) -> list[float]:
        """Round numbers in the range, some `about` of them."""
        rough = (self.high - self.low) / about
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def line_plot(time: np.ndarray, lines: Mapping[str, np.ndarray], time_label: str, value_label: str,
              percent: bool = False) -> str:
    """Values over time, one line for each name; what is NaN is left out.

    time: (N,) ascending. lines: name -> (N,). percent: values are fractions, shown from 0 to 100 %.
    """
    height = 230
    known = np.concatenate([values[~np.isnan(values)] for values in lines.values()])
    top = 1.0 if percent else _headroom(known)
    x = _time_axis(time)
    y = Axis(0.0, top, height - BOTTOM, TOP)
    parts = [_grid(x, y, height, time_label, value_label, (lambda v: f"{100 * v:g}") if percent else _number)]
    for i, (name, values) in enumerate(lines.items()):
        there = ~np.isnan(values)
        if there.any():
            parts.append(_line(x, y, time[there], values[there], i % 6, name))
    return _svg(height, parts, f"{value_label} over {time_label}")


def histogram(values: np.ndarray, value_label: str, marks: Mapping[str, float]) -> str:
    """How often which value (N,) came; marks: name -> value, lines that stand out. The rarest 0.5 % may lie beyond."""
    height = 210
    high = max(_headroom(np.array([np.percentile(values, 99.5)])), max(marks.values()) * 1.04)
    count, edges = np.histogram(np.clip(values, 0, high), bins=60, range=(0.0, high))
    x, y = Axis(0.0, high, LEFT, WIDTH - RIGHT), Axis(0.0, count.max() * 1.12, height - BOTTOM, TOP)
    parts = [_grid(x, y, height, value_label, "frames", _number)]
    for n, low, up in zip(count.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if n:
            parts.append(f'<rect class="bar" x="{x.at(low) + 0.5:.1f}" y="{y.at(n):.1f}" '
                         f'width="{x.at(up) - x.at(low) - 1:.1f}" height="{y.at(0) - y.at(n):.1f}">'
                         f"<title>{_number(low)} to {_number(up)}: {n} frames</title></rect>")
    ends = [-math.inf] * len(marks)  # where the texts of each line end: those that would touch stand below each other
    for name, value in marks.items():
        at, text = x.at(value), f"{name} {_number(value)}"
        room = 8.5 * len(text)
        left = at + 5 if at + room < WIDTH else at - 5 - room
        line = next(k for k, end in enumerate(ends) if end < left)
        ends[line] = left + room
        anchor, begin = ("start", left) if left > at else ("end", at - 5)
        parts.append(f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>'
                     f'<text class="mark" x="{begin:.1f}" y="{TOP + 10 + 16 * line}" text-anchor="{anchor}">'
                     f"{escape(text)}</text>")
    return _svg(height, parts, f"histogram of {value_label}")


def bar_plot(rows: Sequence[tuple[str, float, str]], value_label: str, percent: bool = False) -> str:
    """A bar for each row: name, value, and where a click on it leads (may be empty); in the order of the rows.

    percent: values are fractions, shown from 0 to 100 %.
    """
    height = TOP + _ROW_HEIGHT * len(rows) + BOTTOM
    top = 1.0 if percent else _headroom(np.array([value for _, value, _ in rows]))
    x = Axis(0.0, top, _NAME_WIDTH, WIDTH - RIGHT)
    parts = [_x_ticks(x, height, f"{value_label} (%)" if percent else value_label,
                      (lambda v: f"{100 * v:g}") if percent else _number)]
    for i, (name, value, link) in enumerate(rows):
        y = TOP + _ROW_HEIGHT * i
        told = f"{name}: {100 * value:.1f} %" if percent else f"{name}: {_number(value)}"
        bar = (f'<text class="name" x="{_NAME_WIDTH - 8}" y="{y + 11}" text-anchor="end">'
               f"{escape(name if len(name) < 24 else name[:22] + '…')}</text>"
               f'<rect class="bar" x="{x.begin}" y="{y + 2}" width="{max(1.5, x.at(max(value, 0.0)) - x.begin):.1f}" '
               f'height="{_ROW_HEIGHT - 4}"><title>{escape(told)}</title></rect>')
        parts.append(f'<a href="{escape(link)}">{bar}</a>' if link else bar)
    return _svg(height, parts, f"{value_label} of each")


def track_plot(rows: Sequence[TrackRow], time: np.ndarray, time_label: str, classes: ClassTable,
               several_cameras: bool, is_truth: bool) -> str:
    """A row for each object, first come first; a bar for each time without interruption.

    A track's colour is that of the overlay, a variation of its class's.
    is_truth: the bars are of the truth's objects; they have the colour of the track that matched, hollow where none
    did, and a stroke stands where the track changed.
    """
    rows = sorted(rows, key=lambda row: (row.intervals[0].first, row.camera, row.object_id))
    height = TOP + _ROW_HEIGHT * len(rows) + BOTTOM
    step = float(np.median(np.diff(time))) if len(time) > 1 else 1.0  # a frame lasts until the next one
    x = _time_axis(time, _NAME_WIDTH, step)
    parts = [_x_ticks(x, height, time_label)]
    for i, row in enumerate(rows):
        y = TOP + _ROW_HEIGHT * i
        name = f"{classes.names[row.class_id]} {row.object_id}"
        whole = f"{row.camera}: {name}" if several_cameras else name
        parts.append(f'<text class="name" x="{_NAME_WIDTH - 8}" y="{y + 11}" text-anchor="end">'
                     f"{escape(name if len(name) < 24 else name[:22] + '…')}<title>{escape(whole)}</title></text>")
        for interval in row.intervals:
            begin, end = float(time[interval.first]), float(time[interval.last]) + step
            told = f"{whole}, {_number(begin)} to {_number(end)} {time_label.split(' ')[-1].strip('()')}"
            if is_truth:
                told += f", tracked as {interval.matched_track}" if interval.matched_track else ", not tracked"
            paint = 'class="lost"'
            if not is_truth or interval.matched_track:
                paint = f'fill="{_color(classes, row.class_id, interval.matched_track if is_truth else row.object_id)}"'
            parts.append(f'<rect {paint} x="{x.at(begin):.1f}" y="{y + 2}" rx="2" '
                         f'width="{max(1.5, x.at(end) - x.at(begin)):.1f}" height="{_ROW_HEIGHT - 4}">'
                         f"<title>{escape(told)}</title></rect>")
        for number in row.switches:
            at = x.at(float(time[number]))
            parts.append(f'<path class="switch" d="M{at:.1f} {y - 1}V{y + _ROW_HEIGHT + 1}"><title>'
                         f"{escape(whole)}: another track from {_number(float(time[number]))} on</title></path>")
    return _svg(height, parts, "track timeline")


def _color(classes: ClassTable, class_id: int, number: int) -> str:
    color = object_colors(classes.color_array[[class_id]], np.array([number]))
    return "#" + "".join(f"{c:02x}" for c in color[0].tolist())


def _line(x: Axis, y: Axis, time: np.ndarray, values: np.ndarray, series: int, name: str) -> str:
    if len(values) == 1:
        return f'<circle class="s{series}" cx="{x.at(float(time[0])):.1f}" cy="{y.at(float(values[0])):.1f}" r="3"/>'
    band = ""
    if len(values) > MOST_POINTS:
        starts = np.linspace(0, len(values), MOST_POINTS, endpoint=False).astype(int)
        low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
        sizes = np.diff(np.append(starts, len(values)))
        values, time = np.add.reduceat(values, starts) / sizes, time[starts]
        outline = _points(x, y, np.concatenate([time, time[::-1]]), np.concatenate([high, low[::-1]]))
        band = f'<polygon class="band s{series}" points="{outline}"/>'
    return (f'{band}<polyline class="s{series}" points="{_points(x, y, time, values)}"><title>{escape(name)}</title>'
            "</polyline>")


def _points(x: Axis, y: Axis, time: np.ndarray, values: np.ndarray) -> str:
    return " ".join(f"{x.at(t):.1f},{y.at(v):.1f}" for t, v in zip(time.tolist(), values.tolist(), strict=True))


def _time_axis(time: np.ndarray, left: float = LEFT, last_lasts: float = 0.0) -> Axis:
    low, high = float(time[0]), float(time[-1]) + last_lasts
    return Axis(low, high if high > low else low + 1, left, WIDTH - RIGHT)


def _headroom(values: np.ndarray) -> float:
    return max(float(values.max()) * 1.08, 1e-3)


def _grid(x: Axis, y: Axis, height: int, x_label: str, y_label: str, y_text: Callable[[float], str]) -> str:
    rows = "".join(f'<line class="grid" x1="{x.begin}" x2="{x.end}" y1="{y.at(v):.1f}" y2="{y.at(v):.1f}"/>'
                   f'<text x="{x.begin - 7}" y="{y.at(v) + 4:.1f}" text-anchor="end">{y_text(v)}</text>'
                   for v in y.ticks(4))
    middle = (y.begin + y.end) / 2
    return (_x_ticks(x, height, x_label) + rows
            + f'<text class="axis" transform="translate(14 {middle:.0f}) rotate(-90)" text-anchor="middle">'
            f"{escape(y_label)}</text>")


def _x_ticks(x: Axis, height: int, label: str, text: Callable[[float], str] | None = None) -> str:
    bottom = height - BOTTOM
    ticks = "".join(f'<line class="grid" x1="{x.at(v):.1f}" x2="{x.at(v):.1f}" y1="{TOP}" y2="{bottom}"/>'
                    f'<text x="{x.at(v):.1f}" y="{bottom + 16}" text-anchor="middle">{(text or _number)(v)}</text>'
                    for v in x.ticks(8))
    return ticks + (f'<text class="axis" x="{(x.begin + x.end) / 2:.0f}" y="{height - 6}" text-anchor="middle">'
                    f"{escape(label)}</text>")


def _svg(height: float, parts: Sequence[str], title: str) -> str:
    return (f'<svg class="plot" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
            + "".join(parts) + "</svg>")


def _number(value: float) -> str:
    """As few digits as tell values of a plot apart."""
    return f"{value:.4g}" if abs(value) < 10000 else f"{value:.0f}"
