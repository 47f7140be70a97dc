"""Charts as inline SVG, coloured by the page's own style: light, dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from isthmus.report.scale import Scale

WIDTH, HEIGHT = 420, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 12, 12, 42
_BINS = 44
_MOST_POINTS = 240
_LOG_COUNTS_FROM = 100
BEYOND_USUAL = 2.0
"""The number of usual errors from which on an error is shown behind a curve."""


@dataclass(frozen=True)
class _Frame:
    """The place of a chart's axes."""

    x: Scale
    y: Scale
    x_label: str
    y_label: str

    def draw(self, content: str, title: str) -> Markup:
        """Returns the chart with its axes around some content, which is SVG already."""
        bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
        parts = []
        for value, text in self.y.ticks():
            y = float(self.y.at(value))
            parts.append(
                f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
            parts.append(
                f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" '
                f'text-anchor="end">{text}</text>'
            )
        for value, text in self.x.ticks():
            x = float(self.x.at(value))
            parts.append(
                f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>'
            )
            parts.append(
                f'<text class="tick" x="{x:.1f}" y="{bottom + 17}" '
                f'text-anchor="middle">{text}</text>'
            )
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
        middle_x, middle_y = (_LEFT + right) / 2, (_TOP + bottom) / 2
        parts.append(
            f'<text class="label" x="{middle_x}" y="{HEIGHT - 6}" '
            f'text-anchor="middle">{escape(self.x_label)}</text>'
        )
        parts.append(
            f'<text class="label" transform="translate(11 {middle_y}) rotate(-90)" '
            f'text-anchor="middle">{escape(self.y_label)}</text>'
        )
        return _svg("".join(parts) + content, WIDTH, HEIGHT, title)


def _frame(x: Scale, y: Scale, x_label: str, y_label: str) -> _Frame:
    return _Frame(
        x.between(_LEFT, WIDTH - _RIGHT), y.between(HEIGHT - _BOTTOM, _TOP), x_label, y_label
    )


def histogram(
    scores: NDArray[np.float64], is_anomaly: NDArray[np.bool_], threshold: float
) -> Markup:
    """Returns the histogram of scores; bars of anomalies have another colour.

    Args:
        scores: Shape (N,).
        is_anomaly: Shape (N,).
        threshold: The score that anomalies exceed; NaN if a score alone does not tell.
    """
    is_known = np.isfinite(scores)
    known = scores[is_known]
    if not len(known):
        return Markup()
    marked = np.append(known, threshold) if np.isfinite(threshold) else known
    x = Scale.over(marked)
    edges = x.edges(_BINS)
    inside = np.clip(known, edges[0], edges[-1])
    counts, _ = np.histogram(inside, edges)
    strange, _ = np.histogram(inside[is_anomaly[is_known]], edges)
    y = Scale.of_counts(int(counts.max()), is_log=bool(counts.max() > _LOG_COUNTS_FROM))
    frame = _frame(x, y, "score", "count")
    bars = []
    floor = HEIGHT - _BOTTOM
    for count, odd, left, right in zip(counts, strange, edges[:-1], edges[1:], strict=True):
        if count:
            first, last = float(frame.x.at(left)), float(frame.x.at(right))
            top = min(float(frame.y.at(count)), floor - 1.0)
            kind = "anomaly" if odd > count / 2 else "normal"
            bars.append(
                f'<rect class="{kind}" x="{first + 0.5:.1f}" y="{top:.1f}" '
                f'width="{max(0.5, last - first - 1):.1f}" height="{floor - top:.1f}"/>'
            )
    return frame.draw("".join(bars) + _threshold(frame, threshold), "Histogram of the scores")


def _threshold(frame: _Frame, threshold: float) -> str:
    if not np.isfinite(threshold):
        return ""
    x = float(frame.x.at(threshold))
    is_left = x < WIDTH * 0.6
    anchor, text_x = ("start", x + 5) if is_left else ("end", x - 5)
    return (
        f'<line class="threshold" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>'
        f'<text class="label strong" x="{text_x:.1f}" y="{_TOP + 10}" text-anchor="{anchor}">'
        f"threshold {threshold:.4g}</text>"
    )


def p_value_plot(p_values: NDArray[np.float64]) -> Markup:
    """Returns the sorted p-values against those that normal rows alone would have.

    The band holds 95 % of what normal rows alone would give at each place.
    """
    from scipy.stats import beta

    observed = np.sort(p_values[np.isfinite(p_values) & (p_values > 0)])
    count = len(observed)
    if not count:
        return Markup()
    ranks = np.unique(np.geomspace(1, count, min(count, _MOST_POINTS)).round().astype(int))
    expected = ranks / (count + 1)
    low, high = beta.ppf(0.025, ranks, count + 1 - ranks), beta.ppf(0.975, ranks, count + 1 - ranks)
    least = min(float(observed[0]), float(expected[0]))
    axis = Scale(10 ** np.floor(np.log10(least)), 1.0, is_log=True)
    frame = _frame(axis, axis, "p-value expected of normal rows", "p-value observed")
    band = [*zip(expected, low, strict=True), *reversed([*zip(expected, high, strict=True)])]
    line = frame_points(frame, expected, expected)
    dots = "".join(
        f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2.2"/>'
        for x, y in frame_points(frame, expected, observed[ranks - 1])
    )
    area = _path(frame_points(frame, *np.array(band).T))
    content = f'<path class="band" d="{area}Z"/><path class="reference" d="{_path(line)}"/>{dots}'
    return frame.draw(content, "Observed p-values against uniform ones")


def rate_curve(
    x: NDArray[np.float64], y: NDArray[np.float64], x_label: str, y_label: str, *, diagonal: bool
) -> Markup:
    """Returns a curve of two rates from 0 to 1, such as ROC."""
    unit = Scale(0.0, 1.0)
    frame = _frame(unit, unit, x_label, y_label)
    places = np.unique(np.linspace(0, len(x) - 1, min(len(x), 400)).round().astype(int))
    content = f'<path class="model" d="{_path(frame_points(frame, x[places], y[places]))}"/>'
    if diagonal:
        ends = np.array([0.0, 1.0])
        content = f'<path class="reference" d="{_path(frame_points(frame, ends, ends))}"/>{content}'
    return frame.draw(content, f"{y_label} against {x_label}")


def curves(
    row: NDArray[Any], made: NDArray[Any], heat: NDArray[Any], full: float, x_label: str, name: str
) -> Markup:
    """Returns a curve and its reconstruction over the steps of a window, with its errors behind.

    Args:
        row: Shape (T,).
        made: Shape (T,). The reconstruction.
        heat: Shape (T,). The errors, in usual errors.
        full: The error that has the full colour.
        x_label: The name of the steps.
        name: The channel.
    """
    steps = np.arange(len(row), dtype=np.float64)
    y = Scale.over(np.concatenate([row, made]), may_be_log=False)
    frame = _frame(Scale(0.0, float(max(1, len(row) - 1))), y, x_label, name)
    bins = np.array_split(np.arange(len(row)), min(len(row), _MOST_POINTS))
    step = (WIDTH - _RIGHT - _LEFT) / len(bins)
    # What is usual by chance is left white.
    strength = [(float(heat[each].max()) - BEYOND_USUAL) / (full - BEYOND_USUAL) for each in bins]
    shades = "".join(
        f'<rect class="heat" x="{_LEFT + place * step:.1f}" y="{_TOP}" width="{step + 0.3:.1f}" '
        f'height="{HEIGHT - _BOTTOM - _TOP}" style="opacity:{0.6 * min(1.0, each):.2f}"/>'
        for place, each in enumerate(strength)
        if each > 0
    )
    chosen = _envelope(row)
    lines = "".join(
        f'<path class="{kind}" d="{_path(frame_points(frame, steps[chosen], each[chosen]))}"/>'
        for kind, each in (("input", row), ("model", made))
    )
    return frame.draw(shades + lines, f"{name} and its reconstruction")


def _envelope(row: NDArray[Any]) -> NDArray[np.int64]:
    """Returns the steps to draw of a long curve: the lowest and highest of each short stretch."""
    if len(row) <= 2 * _MOST_POINTS:
        return np.arange(len(row))
    known = np.nan_to_num(row)
    parts = np.array_split(np.arange(len(row)), _MOST_POINTS)
    chosen = [part[[known[part].argmin(), known[part].argmax()]] for part in parts]
    return np.unique(np.concatenate([[0], *chosen, [len(row) - 1]]))


def distribution_pair(reference: NDArray[Any], found: NDArray[Any], title: str) -> Markup:
    """Returns the distribution functions of two samples of one feature, small and without axes."""
    width, height, points = 160, 44, 60
    both = np.concatenate([reference, found])
    both = both[np.isfinite(both)]
    if not len(both):
        return Markup()
    low, high = np.quantile(both, (0.005, 0.995))
    x = Scale(float(low), float(high) if high > low else float(low) + 1).between(3, width - 3)
    grid = np.linspace(x.low, x.high, points)
    lines = []
    for kind, values in (("reference", reference), ("model", found)):
        known = np.sort(values[np.isfinite(values)])
        shares = np.searchsorted(known, grid, side="right") / max(1, len(known))
        places = zip(x.at(grid), height - 3 - shares * (height - 6), strict=True)
        lines.append(
            f'<path class="{kind}" d="{_path([(float(a), float(b)) for a, b in places])}"/>'
        )
    return _svg("".join(lines), width, height, title, kind="spark")


def frame_points(frame: _Frame, x: NDArray[Any], y: NDArray[Any]) -> list[tuple[float, float]]:
    """Returns the places of points in a chart; those that are not finite are left out."""
    xs, ys = frame.x.at(np.asarray(x, dtype=float)), frame.y.at(np.asarray(y, dtype=float))
    return [(float(a), float(b)) for a, b in zip(xs, ys, strict=True) if np.isfinite([a, b]).all()]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) if points else ""


def _svg(content: str, width: int, height: int, title: str, kind: str = "chart") -> Markup:
    # Everything in it is a number, or was escaped.
    return Markup(  # noqa: S704
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}">{content}</svg>'
    )
