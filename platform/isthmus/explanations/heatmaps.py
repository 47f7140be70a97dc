"""A picture for each of the strangest rows of images, series and audio, in a folder of their own.

Such a picture shows the row, its reconstruction, and where the reconstruction misses by more than
usual: over the pixels of an image, the steps of a series, the times and frequencies of a sound.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.outputs.output import check_folder
from isthmus.explanations.contributions import Contributions, Explained
from isthmus.explanations.pictures import (
    COLOURS,
    as_pictures,
    errors_in_usual,
    full_of,
    heat_of_images,
)
from isthmus.explanations.spectral import SpectralContributions, spectral_contributions
from isthmus.explanations.strangest import StrangeRows
from isthmus.kinds import facts_of
from isthmus.tracking import drawing
from isthmus.types import DataKind

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_HEATMAPS = 20
"""The number of rows that have a picture; they are the strangest."""
_SUFFIX = ".heatmaps"
_MOST_CHANNELS = 6


def has_heatmaps(kind: DataKind) -> bool:
    """Returns whether rows of a kind have pictures; a table's rows are told in columns."""
    return facts_of(kind).shown_as != "numbers"


def heatmaps_folder(output: Path) -> Path:
    """Returns the folder of the pictures: `scores.csv.heatmaps` beside `scores.csv`."""
    return output.with_name(output.name + _SUFFIX)


def check_heatmaps(output: Path) -> Path:
    """Returns the folder of the pictures, before the work, if it can be written.

    Raises:
        DataError: If it holds anything but earlier pictures.
    """
    folder = heatmaps_folder(output)
    check_folder(folder)
    return folder


def write_heatmaps(
    contributions: Contributions, strange: StrangeRows | None, folder: Path
) -> list[Path]:
    """Writes a png for each row into a folder; their names begin with the rank of the row.

    Args:
        contributions: The explainer of the pair's rows.
        strange: The rows, the strangest first.
        folder: The folder, which exists.
    """
    if strange is None:
        return []
    explained = contributions.of(strange.block.values)
    draw = _drawer(contributions, explained)
    files = []
    for place, name in enumerate(strange.names()):
        figure = draw(place)
        drawing.head(figure, _shortened(name), f"score {strange.scores[place]:.4g}")
        file = folder / f"{place + 1:02d}-position-{strange.positions[place]}.png"
        figure.savefig(file, format="png")
        files.append(file)
    return files


def _drawer(contributions: Contributions, explained: Explained) -> Callable[[int], Figure]:
    schema = contributions.pair.manifest.rows_taken
    match facts_of(contributions.pair.manifest.plan.kind).shown_as:
        case "pictures":
            heat = heat_of_images(explained)
            full = full_of(heat)
            return lambda place: _image(explained, heat, place, full)
        case "sounds":
            spectral = spectral_contributions(contributions, explained)
            full = full_of(errors_in_usual(spectral.values))
            rate_hz = schema.sample_rate_hz or 1
            return lambda place: _sound(explained, spectral, place, rate_hz, full)
    channels = schema.features or tuple(
        f"channel {number}" for number in range(explained.rows.shape[1])
    )
    return lambda place: _series(explained, channels, place)


def _image(explained: Explained, heat: NDArray[Any], place: int, full: float) -> Figure:
    row, made = explained.rows[place : place + 1], explained.reconstructions[place : place + 1]
    low, high = float(np.nanmin(row)), float(np.nanmax(row))
    height, width = heat.shape[1:]
    figure = drawing.new_figure(8.4, 1.0 + 2.6 * min(2.0, height / width))
    axes = figure.subplots(1, 3)
    drawing.margins(figure, left=0.2, right=0.85, bottom=0.1, top=0.9, wspace=0.08)
    for axis, title, picture in (
        (axes[0], "input", as_pictures(row, low, high)[0]),
        (axes[1], "reconstruction", as_pictures(made, low, high)[0]),
    ):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        _plain(axis, title)
    shown = axes[2].imshow(heat[place], cmap=COLOURS, vmin=0, vmax=full, interpolation="nearest")
    _plain(axes[2], "error, in usual errors")
    _colour_bar(figure, axes[2], shown)
    return figure


def _series(explained: Explained, channels: tuple[str, ...], place: int) -> Figure:
    strongest = explained.contributions[place].sum(axis=1).argsort()[::-1][:_MOST_CHANNELS]
    figure = drawing.new_figure(8.4, 1.0 + 1.9 * len(strongest))
    axes = np.atleast_1d(figure.subplots(len(strongest), 1, sharex=True))
    drawing.margins(figure, left=0.85, right=0.3, bottom=0.5, top=0.9, hspace=0.28)
    full = full_of(errors_in_usual(explained.contributions[place]))
    for axis, channel in zip(axes, strongest, strict=True):
        _curves(axis, explained, place, int(channel))
        axis.set_ylabel(_shortened(channels[channel], 20), fontsize=9, color=drawing.SOFT_INK)
        heat = errors_in_usual(explained.contributions[place, channel])
        low, high = axis.get_ylim()
        steps = len(heat)
        extent = (-0.5, steps - 0.5, low, high)
        axis.imshow(
            heat[None], cmap="Reds", vmin=0, vmax=full, aspect="auto", extent=extent, alpha=0.45
        )
        axis.set_ylim(low, high)
    axes[-1].set_xlabel("step of the window; red: error, in usual errors", fontsize=9)
    drawing.legend_at_top(figure, axes[0])
    return figure


def _sound(
    explained: Explained, spectral: SpectralContributions, place: int, rate_hz: int, full: float
) -> Figure:
    figure = drawing.new_figure(8.4, 4.8)
    top, bottom = figure.subplots(2, 1, sharex=True)
    drawing.margins(figure, left=0.85, right=0.85, bottom=0.55, top=0.9, hspace=0.18)
    seconds = explained.rows.shape[2] / rate_hz
    _curves(top, explained, place, 0, seconds)
    extent = (0, seconds, 0, spectral.highest_hz)
    shown = bottom.imshow(
        errors_in_usual(spectral.values[place]),
        cmap=COLOURS,
        vmin=0,
        vmax=full,
        origin="lower",
        aspect="auto",
        extent=extent,
    )
    drawing.plain_axes(bottom, "seconds of the window", "frequency in Hz", grid=False)
    _colour_bar(figure, bottom, shown)
    drawing.legend_at_top(figure, top)
    return figure


def _curves(
    axis: Axes, explained: Explained, place: int, channel: int, length: float | None = None
) -> None:
    steps = np.arange(explained.rows.shape[2])
    at = steps if length is None else steps * (length / len(steps))
    drawing.plain_axes(axis)
    axis.plot(at, explained.rows[place, channel], color=drawing.INK, linewidth=1.1, label="input")
    axis.plot(
        at,
        explained.reconstructions[place, channel],
        color=drawing.MODEL,
        linewidth=1.1,
        label="reconstruction",
    )


def _plain(axis: Axes, title: str) -> None:
    axis.set_axis_off()
    axis.set_title(title, fontsize=9.5, color=drawing.INK)


def _colour_bar(figure: Figure, axis: Axes, shown: Any) -> None:
    place = axis.get_position()
    across = figure.get_figwidth()
    bar = figure.add_axes((place.x1 + 0.12 / across, place.y0, 0.12 / across, place.height))
    figure.colorbar(shown, cax=bar)
    bar.tick_params(labelsize=8, colors=drawing.SOFT_INK)


def _shortened(name: str, longest: int = 60) -> str:
    # matplotlib would read what is between two dollars as a formula.
    shown = name if len(name) <= longest else f"{name[: longest - 1]}…"
    return shown.replace("$", r"\$")
