"""Figures of rows next to what is made of them, in the form in which people know the data.

These are inputs and their reconstructions; of a denoiser, clean rows, the same with noise, and
denoised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isthmus.kinds import facts_of
from isthmus.spec import ModelPlan
from isthmus.tracking import drawing
from isthmus.tracking.drawing import INK, MODEL, SOFT_INK
from isthmus.tracking.report import RunReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_IMAGES_ACROSS = 12
_WIDTH, _IMAGES_LEFT, _IMAGES_TOP, _STRIP_GAP = 8.0, 1.15, 0.72, 0.05
"""Sizes in inches: the figure's width, the space left of and above the pictures, and between
them."""
_TABLE_ROWS = 36
_TABLE_FEATURES = 40
_SERIES_CHANNELS = 3
_LINES = {"with noise": "#e4d3b8"}
"""The colours of lines that are not grey."""
# The rank of each example among all rows, by its error.
_RANKS = (
    (0.05, "among the best"),
    (0.25, "better than most"),
    (0.5, "typical"),
    (0.75, "worse than most"),
    (0.95, "among the worst"),
    (1.0, "the worst"),
)


@dataclass(frozen=True, eq=False)
class _Examples:
    """The rows that are drawn, K of them.

    Attributes:
        plan: The plan of the autoencoder.
        title: The title of the figure.
        rows: The views of each row, by name, shape (K, *row_shape) each, data units: first
            the row as it should come out, last what comes out.
        errors: The error of each row, shape (K,), scaled units.
        done: The treatment of the rows, as in "best reconstructed".
        labels: The labels of the rows, shape (K,), if they have labels.
    """

    plan: ModelPlan
    title: str
    rows: Mapping[str, NDArray[np.float32]]
    errors: NDArray[Any]
    done: str = "reconstructed"
    labels: NDArray[Any] | None = None

    @property
    def target(self) -> NDArray[np.float32]:
        """The rows as they should come out."""
        return next(iter(self.rows.values()))

    @property
    def made(self) -> NDArray[np.float32]:
        """The rows that the pair made, which are the last of `rows`."""
        return list(self.rows.values())[-1]


def reconstructions(report: RunReport, columns: Sequence[str] | None = None) -> Figure:
    """Draws held-out rows and their reconstructions; of a denoiser, rows with noise, denoised.

    Args:
        report: The data to draw. Rows from the best to the worst reconstructed are shown.
        columns: The names of the features (tabular) or channels (series).
    """
    examples = _examples_of(report)
    shown_as = facts_of(report.plan.kind).shown_as
    if shown_as == "pictures":
        return _images(examples)
    if shown_as == "numbers":
        return _table(examples, columns)
    return _series(examples, columns)


def _examples_of(report: RunReport) -> _Examples:
    if report.noise is not None:
        noise = report.noise
        return _Examples(
            plan=report.plan,
            title="Noise taken away",
            rows={"clean": noise.clean, "with noise": noise.noisy, "denoised": noise.denoised},
            errors=noise.errors["denoised"],
            done="denoised",
        )
    return _Examples(
        plan=report.plan,
        title="Inputs and reconstructions",
        rows={"input": report.inputs, "reconstruction": report.reconstructions},
        errors=report.errors[: len(report.inputs)],
        labels=report.labels,
    )


def _spread_by_error(errors: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Returns evenly spaced rows, from the best to the worst reconstructed."""
    places = np.linspace(0, len(errors) - 1, min(count, len(errors))).round().astype(np.intp)
    return np.argsort(errors)[places]


# -- images ---------------------------------------------------------------------------------------


def _images(examples: _Examples) -> Figure:
    channels, height, width = examples.plan.row_shape
    across = int(np.clip(_IMAGES_ACROSS * 28 / max(width, 28), 4, _IMAGES_ACROSS))
    bands, which = _image_choice(examples, across, bands=2 if height <= 96 else 1)
    across = min(across, max(len(rows) for rows in bands))
    # In inches: the width of a picture's column, the height of a picture, and that of a band.
    column = (_WIDTH - _IMAGES_LEFT - 0.15) / across
    tall = column * height / (width + _gap(width))
    band_height = (len(examples.rows) + 1) * (tall + _STRIP_GAP) + 0.36
    figure = drawing.new_figure(_WIDTH, _IMAGES_TOP + len(bands) * band_height)
    for place, rows in enumerate(bands):
        _image_band(figure, examples, rows, _IMAGES_TOP + place * band_height, column, tall)
    note = "" if channels in (1, 3, 4) else f", the first of {channels} channels"
    drawing.head(
        figure,
        examples.title,
        f"held-out images{note}: {which}, each with its error; "
        "difference: red is too bright, blue too dark",
    )
    return figure


def _image_choice(
    examples: _Examples, across: int, bands: int
) -> tuple[list[NDArray[np.intp]], str]:
    """Returns the rows of each band, and a description of how they were chosen."""
    errors = examples.errors
    distinct = drawing.distinct(examples.labels)
    if bands == 2 and 2 <= len(distinct) <= across:
        of_label = [np.flatnonzero(examples.labels == label) for label in distinct]
        ordered = [rows[np.argsort(errors[rows])] for rows in of_label]
        typical = np.array([rows[len(rows) // 2] for rows in ordered])
        worst = np.array([rows[-1] for rows in ordered])
        return [typical, worst], "of each label a typical one and the worst"
    rows = _spread_by_error(errors, across * bands)
    chosen = f"from the best to the worst {examples.done}"
    return np.array_split(rows, -(-len(rows) // across)), chosen


def _image_band(
    figure: Figure,
    examples: _Examples,
    rows: NDArray[np.intp],
    top: float,
    column: float,
    tall: float,
) -> None:
    """Draws a band: inputs, below them what is made of them, and differences; sizes in inches."""
    target, made = examples.target, examples.made
    low, high = float(np.nanmin(target)), float(np.nanmax(target))
    difference = (made[rows] - target[rows]).mean(axis=1)
    limit = float(np.nanquantile(np.abs(made - target), 0.995)) or 1.0
    strips = [
        (name, _pictures(images[rows], low, high), "gray", (0.0, 1.0))
        for name, images in examples.rows.items()
    ]
    strips.append(("difference", difference, "RdBu_r", (-limit, limit)))
    wide = column * len(rows)
    for place, (name, pictures, colours, limits) in enumerate(strips):
        below = top + 0.2 + (place + 1) * (tall + _STRIP_GAP)
        _image_strip(figure, name, _side_by_side(pictures), colours, limits, below, tall, wide)
    page_width, page_height = figure.get_size_inches()
    width = examples.plan.row_shape[2]
    for number, row in enumerate(rows):
        centre = _IMAGES_LEFT + column * (number + 0.5 * width / (width + _gap(width)))
        figure.text(
            centre / page_width,
            1 - (top + 0.13) / page_height,
            _caption(examples, row),
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


def _caption(examples: _Examples, row: int) -> str:
    error = f"{examples.errors[row]:.2g}"
    return error if examples.labels is None else f"{str(examples.labels[row])[:8]}: {error}"


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


def _table(examples: _Examples, columns: Sequence[str] | None) -> Figure:
    features = examples.plan.row_shape[0]
    kept = np.linspace(0, features - 1, min(features, _TABLE_FEATURES)).round().astype(int)
    names = [columns[i] if columns else f"feature {i + 1}" for i in kept]
    inputs, outputs = examples.target[:, kept], examples.made[:, kept]
    mean, spread = np.nanmean(inputs, axis=0), np.nanstd(inputs, axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    rows = _spread_by_error(examples.errors, _TABLE_ROWS)
    panels = [
        (name, (values[:, kept][rows] - mean) / spread) for name, values in examples.rows.items()
    ]
    panels.append(("difference", (outputs[rows] - inputs[rows]) / spread))
    figure = drawing.new_figure(_WIDTH, 1.45 + max(0.2 * len(kept), 1.6))
    widths = (*[1] * len(panels), 0.75)
    axes = figure.subplots(1, len(widths), gridspec_kw={"width_ratios": widths})
    longest = max(len(_short(name)) for name in names)
    drawing.margins(figure, left=0.35 + 0.075 * longest, bottom=0.5, top=1.0, wspace=0.07)
    for place, (title, values) in enumerate(panels):
        axes[place].imshow(
            values.T, cmap="RdBu_r", vmin=-2.5, vmax=2.5, aspect="auto", interpolation="nearest"
        )
        _table_axes(axes[place], title, names if place == 0 else None, len(names))
    _kept_variance(axes[-1], inputs, outputs, len(names))
    which = f", {len(kept)} of {features} features" if len(kept) < features else ""
    drawing.head(
        figure,
        examples.title,
        f"{len(rows)} held-out rows{which}; best {examples.done} on the left; "
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


def _series(examples: _Examples, columns: Sequence[str] | None) -> Figure:
    channels, steps = examples.plan.row_shape
    errors = examples.errors
    order = np.argsort(errors)
    shown_channels = min(channels, _SERIES_CHANNELS)
    ranks = _RANKS if shown_channels == 1 else _RANKS[1::2]
    across = 2 if shown_channels == 1 else shown_channels
    down = -(-len(ranks) * shown_channels // across)
    figure = drawing.new_figure(_WIDTH, 1.3 + 1.65 * down)
    panels = figure.subplots(down, across, squeeze=False).flatten()
    drawing.margins(figure, left=0.6, top=1.0, hspace=0.42, wspace=0.16)
    for place, axes in enumerate(panels):
        rank, words = ranks[place // shown_channels]
        channel = place % shown_channels
        row = order[round(rank * (len(order) - 1))]
        _lines(axes, examples, row, channel, is_dense=steps > 400)
        name = f"{columns[channel]}, " if columns and channels > 1 else ""
        axes.set_title(
            f"{name}{words}: error {errors[row]:.3g}", fontsize=9.5, color=INK, loc="left"
        )
        axes.tick_params(labelbottom=place >= len(panels) - across)
    unit = f"{facts_of(examples.plan.kind).place}s"
    for axes in panels[-across:]:
        axes.set_xlabel(unit, color=SOFT_INK, fontsize=9.5)
    drawing.legend_at_top(figure, panels[0])
    which = f"; {shown_channels} of {channels} channels" if shown_channels < channels else ""
    drawing.head(figure, examples.title, f"held-out windows of {steps} {unit}{which}")
    return figure


def _lines(axes: Axes, examples: _Examples, row: int, channel: int, *, is_dense: bool) -> None:
    thin = 0.6 if is_dense else 1.0
    drawing.plain_axes(axes)
    # What has noise lies behind the rest, which it would hide.
    order = {"with noise": 0}
    for name, values in examples.rows.items():
        is_made = values is examples.made
        axes.plot(
            values[row, channel],
            color=MODEL if is_made else _LINES.get(name, "#9aa5b1"),
            linewidth=(1.3 if is_made else 2.0) * thin,
            label=name,
            zorder=2 + order.get(name, 1),
        )
    axes.margins(x=0.01)
