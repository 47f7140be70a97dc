"""Figures of inputs next to their reconstructions, in the form in which people know the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isthmus.tracking import drawing
from isthmus.tracking.drawing import INK, MODEL, SOFT_INK
from isthmus.tracking.report import RunReport
from isthmus.types import DataKind

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_IMAGES_ACROSS = 12
_IMAGES_WIDTH, _IMAGES_LEFT, _IMAGES_TOP, _STRIP_GAP = 9.0, 1.15, 0.72, 0.05
"""Sizes in inches: the figure's width, the space left of and above the pictures, and between
them."""
_TABLE_ROWS = 36
_TABLE_FEATURES = 40
_SERIES_CHANNELS = 3
# The rank of each example among all rows, by its error.
_RANKS = (
    (0.05, "among the best"),
    (0.25, "better than most"),
    (0.5, "typical"),
    (0.75, "worse than most"),
    (0.95, "among the worst"),
    (1.0, "the worst"),
)


def reconstructions(report: RunReport, columns: Sequence[str] | None = None) -> Figure:
    """Draws held-out rows and their reconstructions.

    Args:
        report: The data to draw. Rows from the best to the worst reconstructed are shown.
        columns: The names of the features (tabular) or channels (series).
    """
    if report.plan.kind is DataKind.IMAGES:
        return _images(report)
    if report.plan.kind is DataKind.TABULAR:
        return _table(report, columns)
    return _series(report, columns)


def _shown_errors(report: RunReport) -> NDArray[np.float32]:
    return report.errors[: len(report.inputs)]


def _spread_by_error(errors: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Returns evenly spaced rows, from the best to the worst reconstructed."""
    places = np.linspace(0, len(errors) - 1, min(count, len(errors))).round().astype(np.intp)
    return np.argsort(errors)[places]


# -- images ---------------------------------------------------------------------------------------


def _images(report: RunReport) -> Figure:
    channels, height, width = report.plan.row_shape
    across = int(np.clip(_IMAGES_ACROSS * 28 / max(width, 28), 4, _IMAGES_ACROSS))
    bands, which = _image_choice(report, across, bands=2 if height <= 96 else 1)
    across = min(across, max(len(rows) for rows in bands))
    # In inches: the width of a picture's column, the height of a picture, and that of a band of
    # three.
    column = (_IMAGES_WIDTH - _IMAGES_LEFT - 0.15) / across
    tall = column * height / (width + _gap(width))
    band_height = 3 * (tall + _STRIP_GAP) + 0.36
    figure = drawing.new_figure(_IMAGES_WIDTH, _IMAGES_TOP + len(bands) * band_height)
    for place, rows in enumerate(bands):
        _image_band(figure, report, rows, _IMAGES_TOP + place * band_height, column, tall)
    note = "" if channels in (1, 3, 4) else f", the first of {channels} channels"
    drawing.head(
        figure,
        "Inputs and reconstructions",
        f"held-out images{note}: {which}, each with its error; "
        "difference: red is too bright, blue too dark",
    )
    return figure


def _image_choice(report: RunReport, across: int, bands: int) -> tuple[list[NDArray[np.intp]], str]:
    """Returns the rows of each band, and a description of how they were chosen."""
    errors = _shown_errors(report)
    distinct = drawing.distinct(report.labels)
    if bands == 2 and 2 <= len(distinct) <= across:
        of_label = [np.flatnonzero(report.labels == label) for label in distinct]
        ordered = [rows[np.argsort(errors[rows])] for rows in of_label]
        typical = np.array([rows[len(rows) // 2] for rows in ordered])
        worst = np.array([rows[-1] for rows in ordered])
        return [typical, worst], "of each label a typical one and the worst"
    rows = _spread_by_error(errors, across * bands)
    return np.array_split(rows, -(-len(rows) // across)), "from the best to the worst reconstructed"


def _image_band(
    figure: Figure,
    report: RunReport,
    rows: NDArray[np.intp],
    top: float,
    column: float,
    tall: float,
) -> None:
    """Draws a band: inputs, below them reconstructions, below them differences; sizes in inches."""
    inputs, outputs = report.inputs[rows], report.reconstructions[rows]
    low, high = float(np.nanmin(report.inputs)), float(np.nanmax(report.inputs))
    limit = float(np.nanquantile(np.abs(report.reconstructions - report.inputs), 0.995)) or 1.0
    strips = [
        ("input", _pictures(inputs, low, high), "gray", (0.0, 1.0)),
        ("reconstruction", _pictures(outputs, low, high), "gray", (0.0, 1.0)),
        ("difference", (outputs - inputs).mean(axis=1), "RdBu_r", (-limit, limit)),
    ]
    wide = column * len(rows)
    for place, (name, pictures, colours, limits) in enumerate(strips):
        below = top + 0.2 + (place + 1) * (tall + _STRIP_GAP)
        _image_strip(figure, name, _side_by_side(pictures), colours, limits, below, tall, wide)
    page_width, page_height = figure.get_size_inches()
    width = report.plan.row_shape[2]
    for number, row in enumerate(rows):
        centre = _IMAGES_LEFT + column * (number + 0.5 * width / (width + _gap(width)))
        figure.text(
            centre / page_width,
            1 - (top + 0.13) / page_height,
            _caption(report, row),
            ha="center",
            fontsize=8,
            color=SOFT_INK,
        )


def _image_strip(
    figure: Figure,
    name: str,
    picture: NDArray[np.float32],
    colours: str,
    limits: tuple[float, float],
    below: float,
    tall: float,
    wide: float,
) -> None:
    """Draws one row of pictures with its name on the left; sizes in inches."""
    page_width, page_height = figure.get_size_inches()
    bottom = 1 - below / page_height
    place = (_IMAGES_LEFT / page_width, bottom, wide / page_width, tall / page_height)
    axes = figure.add_axes(place)
    axes.imshow(
        picture,
        cmap=colours,
        vmin=limits[0],
        vmax=limits[1],
        aspect="auto",
        interpolation="nearest",
    )
    axes.set_axis_off()
    figure.text(
        (_IMAGES_LEFT - 0.08) / page_width,
        bottom + tall / 2 / page_height,
        name,
        ha="right",
        va="center",
        fontsize=9.5,
        color=INK,
    )


def _caption(report: RunReport, row: int) -> str:
    error = f"{report.errors[row]:.2g}"
    return error if report.labels is None else f"{str(report.labels[row])[:8]}: {error}"


def _pictures(images: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Scales (K, C, H, W) in data units to [0, 1]: (K, H, W), or (K, H, W, 3) in colour."""
    scaled: NDArray[np.float32] = np.clip(
        (np.nan_to_num(images) - low) / max(high - low, 1e-12), 0, 1
    )
    return scaled[:, :3].transpose(0, 2, 3, 1) if images.shape[1] in (3, 4) else scaled[:, 0]


def _gap(width: int) -> int:
    return max(1, round(width * 0.08))


def _side_by_side(pictures: NDArray[Any]) -> NDArray[Any]:
    """Joins (K, H, W[, 3]) into one picture with white gaps, which is drawn many times faster."""
    count, height, width = pictures.shape[:3]
    step = width + _gap(width)
    # NaN is not drawn, so the figure's background shows. A colour picture cannot contain NaN.
    blank = np.nan if pictures.ndim == 3 else 1.0
    sheet = np.full((height, count * step, *pictures.shape[3:]), blank, dtype=np.float32)
    for column, picture in enumerate(pictures):
        sheet[:, column * step : column * step + width] = picture
    return sheet


# -- tables ---------------------------------------------------------------------------------------


def _table(report: RunReport, columns: Sequence[str] | None) -> Figure:
    features = report.plan.row_shape[0]
    kept = np.linspace(0, features - 1, min(features, _TABLE_FEATURES)).round().astype(int)
    names = [columns[i] if columns else f"feature {i + 1}" for i in kept]
    inputs, outputs = report.inputs[:, kept], report.reconstructions[:, kept]
    mean, spread = np.nanmean(inputs, axis=0), np.nanstd(inputs, axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    rows = _spread_by_error(_shown_errors(report), _TABLE_ROWS)
    panels = [
        ("input", (inputs[rows] - mean) / spread),
        ("reconstruction", (outputs[rows] - mean) / spread),
        ("difference", (outputs[rows] - inputs[rows]) / spread),
    ]
    figure = drawing.new_figure(9.0, 1.45 + max(0.2 * len(kept), 1.6))
    axes = figure.subplots(1, 4, gridspec_kw={"width_ratios": (1, 1, 1, 0.75)})
    longest = max(len(_short(name)) for name in names)
    drawing.margins(figure, left=0.35 + 0.075 * longest, bottom=0.5, top=1.0, wspace=0.07)
    for place, (title, values) in enumerate(panels):
        axes[place].imshow(
            values.T, cmap="RdBu_r", vmin=-2.5, vmax=2.5, aspect="auto", interpolation="nearest"
        )
        _table_axes(axes[place], title, names if place == 0 else None, len(names))
    _kept_variance(axes[3], inputs, outputs, len(names))
    which = f", {len(kept)} of {features} features" if len(kept) < features else ""
    drawing.head(
        figure,
        "Inputs and reconstructions",
        f"{len(rows)} held-out rows{which}; best reconstructed on the left; "
        "red is above the mean, blue below, full at 2.5 standard deviations",
    )
    return figure


def _table_axes(axes: Axes, title: str, names: Sequence[str] | None, count: int) -> None:
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(title, fontsize=9.5, color=INK)
    axes.set_xticks([])
    axes.set_xlabel("rows", fontsize=9, color=SOFT_INK)
    axes.tick_params(length=0, labelsize=8.5, colors=SOFT_INK)
    axes.set_yticks(range(count) if names else [], [_short(name) for name in names or ()])


def _short(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:21]}…"


def _kept_variance(
    axes: Axes, inputs: NDArray[np.float32], outputs: NDArray[np.float32], count: int
) -> None:
    """Draws bars that show how much of each feature's variance the bottleneck keeps."""
    variance = np.nanvar(inputs, axis=0)
    lost = np.nanmean(np.square(outputs - inputs), axis=0)
    kept = np.clip(1 - lost / np.where(variance > 0, variance, np.nan), 0, 1)
    axes.barh(range(count), np.nan_to_num(kept), color=MODEL, height=0.72)
    drawing.plain_axes(axes)
    axes.grid(visible=False, axis="y")
    axes.set(xlim=(0, 1), ylim=(count - 0.5, -0.5), yticks=[])
    axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    axes.set_title("variance kept", fontsize=9.5, color=INK)


# -- series and audio -----------------------------------------------------------------------------


def _series(report: RunReport, columns: Sequence[str] | None) -> Figure:
    channels, steps = report.plan.row_shape
    errors = _shown_errors(report)
    order = np.argsort(errors)
    shown_channels = min(channels, _SERIES_CHANNELS)
    ranks = _RANKS if shown_channels == 1 else _RANKS[1::2]
    across = 2 if shown_channels == 1 else shown_channels
    down = -(-len(ranks) * shown_channels // across)
    figure = drawing.new_figure(9.0, 1.3 + 1.65 * down)
    panels = figure.subplots(down, across, squeeze=False).flatten()
    drawing.margins(figure, left=0.6, top=1.0, hspace=0.42, wspace=0.16)
    for place, axes in enumerate(panels):
        rank, words = ranks[place // shown_channels]
        channel = place % shown_channels
        row = order[round(rank * (len(order) - 1))]
        _lines(axes, report, row, channel, is_dense=steps > 400)
        name = f"{columns[channel]}, " if columns and channels > 1 else ""
        axes.set_title(
            f"{name}{words}: error {errors[row]:.3g}", fontsize=9.5, color=INK, loc="left"
        )
        axes.tick_params(labelbottom=place >= len(panels) - across)
    unit = "samples" if report.plan.kind is DataKind.AUDIO else "steps"
    for axes in panels[-across:]:
        axes.set_xlabel(unit, color=SOFT_INK, fontsize=9.5)
    drawing.legend_at_top(figure, panels[0])
    which = f"; {shown_channels} of {channels} channels" if shown_channels < channels else ""
    drawing.head(figure, "Inputs and reconstructions", f"held-out windows of {steps} {unit}{which}")
    return figure


def _lines(axes: Axes, report: RunReport, row: int, channel: int, *, is_dense: bool) -> None:
    thin = 0.6 if is_dense else 1.0
    drawing.plain_axes(axes)
    axes.plot(report.inputs[row, channel], color="#9aa5b1", linewidth=2.0 * thin, label="input")
    axes.plot(
        report.reconstructions[row, channel],
        color=MODEL,
        linewidth=1.3 * thin,
        label="reconstruction",
    )
    axes.margins(x=0.01)
