"""The common style of all figures. pyplot is not used, as its global state is not thread-safe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The widest figure is 800 pixels: MLflow shows a picture in a description at its own size, and a
# column of its page is about that wide on a laptop.
DOTS_PER_INCH = 100

MODEL = "#2563a8"
"""The colour of the autoencoder, of training and of reconstructions."""
OTHER = "#e0802f"
"""The colour of what they are compared with: PCA and validation."""
INK = "#1f2933"
SOFT_INK = "#616e7c"
GRID = "#e4e7eb"
CATEGORIES = (
    "#2563a8",
    "#e0802f",
    "#2f9e63",
    "#c8374d",
    "#7e57c2",
    "#8d6e4f",
    "#e377b4",
    "#6b7785",
    "#a9b52c",
    "#20a8bd",
    "#12355b",
    "#f2b83b",
)
"""The colours of the first twelve labels, which most people can tell apart, also in print."""
# The smallest range, in powers of ten, that is drawn on a logarithmic axis. A linear axis would
# press most of the curve onto the bottom.
_DECADES_FOR_LOG = 1.0


def new_figure(width: float, height: float) -> Figure:
    """Creates an empty figure; the size is in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white")


def head(figure: Figure, title: str, subtitle: str) -> None:
    """Writes a title, and a subtitle that says what to look for, at the top left of the figure."""
    height = figure.get_figheight()
    figure.text(
        0.12 / figure.get_figwidth(),
        1 - 0.12 / height,
        title,
        fontsize=13,
        weight="bold",
        color=INK,
        va="top",
    )
    figure.text(
        0.12 / figure.get_figwidth(),
        1 - 0.40 / height,
        subtitle,
        fontsize=9.5,
        color=SOFT_INK,
        va="top",
    )


def margins(
    figure: Figure,
    *,
    left: float = 0.75,
    right: float = 0.25,
    bottom: float = 0.6,
    top: float = 0.75,
    wspace: float = 0.2,
    hspace: float = 0.2,
) -> None:
    """Sets the margins around the axes in inches, and the gaps as fractions of an axis."""
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left=left / width,
        right=1 - right / width,
        bottom=bottom / height,
        top=1 - top / height,
        wspace=wspace,
        hspace=hspace,
    )


def legend_at_top(figure: Figure, axes: Axes) -> None:
    """Puts the legend next to the title, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="upper right",
        ncols=len(labels),
        frameon=False,
        fontsize=9.5,
        labelcolor=INK,
        bbox_to_anchor=(0.985, 1 - 0.08 / figure.get_figheight()),
        borderaxespad=0,
        columnspacing=1.4,
    )


def plain_axes(axes: Axes, x_label: str = "", y_label: str = "", *, grid: bool = True) -> None:
    """Styles the axes: only the left and bottom lines, a light grid, small labels."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#b8c1cc")
    axes.tick_params(colors=SOFT_INK, labelsize=8.5, length=3)
    axes.set_xlabel(x_label, color=SOFT_INK, fontsize=9.5)
    axes.set_ylabel(y_label, color=SOFT_INK, fontsize=9.5)
    if grid:
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)


def distinct(labels: NDArray[Any] | None) -> list[Any]:
    """Returns the distinct labels: numbers in order, then texts in order."""
    if labels is None:
        return []

    def order(label: object) -> tuple[bool, float, str]:
        if isinstance(label, int | float):
            return False, label, ""
        return True, 0.0, str(label)

    return sorted(set(labels.tolist()), key=order)


def spans_decades(values: NDArray[Any]) -> bool:
    """Returns whether the values are positive and span enough decades for a logarithmic axis."""
    values = values[np.isfinite(values)]
    if not len(values) or values.min() <= 0:
        return False
    return bool(np.log10(values.max() / values.min()) > _DECADES_FOR_LOG)


def readable_log_ticks(axis: Any, lowest: float, highest: float) -> None:
    """Labels a logarithmic axis with plain numbers, between powers of ten too if there are few."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    few_decades = np.log10(highest / lowest) < 2.5
    axis.set_major_locator(LogLocator(10, subs=(1, 2, 5) if few_decades else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
