"""The figures of a finished run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isthmus.kinds import facts_of
from isthmus.tracking import drawing
from isthmus.tracking.drawing import INK, MODEL, OTHER, SOFT_INK
from isthmus.tracking.examples import reconstructions
from isthmus.tracking.report import RunReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_POINTS = 5000
_MOST_DRAWN = 200_000
_MOST_BINS = 60


def drawings(
    report: RunReport, columns: Sequence[str] | None = None
) -> dict[str, Callable[[], Figure]]:
    """Returns a function that draws each figure of a run, by the name of its file.

    Args:
        report: The data to draw.
        columns: The names of the features (tabular) or channels (series), if they have names.
    """
    return {
        "loss.png": lambda: loss_curve(report),
        "reconstructions.png": lambda: reconstructions(report, columns),
        "latent_space.png": lambda: latent_space(report),
        "errors.png": lambda: error_histogram(report),
    }


def loss_curve(report: RunReport) -> Figure:
    """Draws the training and validation loss over the epochs, and marks the best epoch."""
    from matplotlib.ticker import MaxNLocator

    epochs = np.array([each.epoch for each in report.history])
    train = np.array([each.train.get("loss", np.nan) for each in report.history])
    validation = np.array([each.validation.get("loss", np.nan) for each in report.history])
    figure = drawing.new_figure(7.4, 4.3)
    axes = figure.subplots()
    drawing.margins(figure)
    drawing.plain_axes(axes, "epoch", f"loss ({report.plan.reconstruction}), per row")
    marker = "o" if len(epochs) <= 12 else None
    axes.plot(epochs, train, color=MODEL, linewidth=1.8, label="training", marker=marker, ms=4)
    axes.plot(
        epochs, validation, color=OTHER, linewidth=1.8, label="validation", marker=marker, ms=4
    )
    trained = int((epochs > 0).sum())
    subtitle = "1 epoch" if trained == 1 else f"{trained} epochs"
    if np.isfinite(validation).any():
        best = int(np.nanargmin(validation))
        _mark_best(axes, epochs[best], validation[best])
        which = f"epoch {epochs[best]}" if epochs[best] else "the start"
        subtitle += f"; the best, {which}, has validation loss {validation[best]:.4g}"
    both = np.concatenate([train, validation])
    if drawing.spans_decades(both):
        axes.set_yscale("log")
        finite = both[np.isfinite(both)]
        drawing.readable_log_ticks(axes.yaxis, finite.min(), finite.max())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    drawing.legend_at_top(figure, axes)
    drawing.head(figure, "Loss", subtitle)
    return figure


def _mark_best(axes: Axes, epoch: int, loss: float) -> None:
    axes.axvline(epoch, color=SOFT_INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    axes.plot(
        [epoch], [loss], "o", ms=8, mfc="white", mec=OTHER, mew=2, zorder=5, label="best epoch"
    )


def latent_space(report: RunReport) -> Figure:
    """Draws the latents in two dimensions, coloured by label, or by error without labels."""
    step = -(-len(report.latents) // _MOST_POINTS)
    latents = np.nan_to_num(report.latents[::step].astype(np.float64))
    points, axis_names = _in_two_dimensions(latents)
    size_of_all, size_of_kept = report.plan.latent_dim, report.latents.shape[1]
    labels = None if report.labels is None else np.asarray(report.labels)[::step]
    figure = drawing.new_figure(7.4, 5.4)
    axes = figure.subplots()
    drawing.margins(figure, right=1.55)
    drawing.plain_axes(axes, *axis_names)
    distinct = drawing.distinct(labels)
    size = float(np.clip(9000 / max(len(points), 1), 7, 34))
    count = f"{len(points):,} held-out rows in {size_of_all:,} dimensions"
    if size_of_kept < size_of_all:
        count += f", of which {size_of_kept:,} evenly spaced ones are looked at"
    if labels is not None and 1 <= len(distinct) <= len(drawing.CATEGORIES):
        _scatter_by_label(axes, points, labels, distinct, size)
        drawing.head(figure, "Latent space", f"{count}, coloured by label")
        return figure
    if labels is not None and np.issubdtype(labels.dtype, np.number):
        what, values = "label", labels.astype(np.float32)
        limits = (float(np.nanmin(values)), float(np.nanmax(values)))
    else:
        what, values = "reconstruction error", report.errors[: len(report.latents)][::step]
        limits = (float(np.quantile(values, 0.02)), float(np.quantile(values, 0.98)))
    _scatter_by_value(figure, axes, points, values, limits, what, size)
    drawing.head(figure, "Latent space", f"{count}, coloured by {what}")
    return figure


def _in_two_dimensions(latents: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """Projects latents of more than two values onto the two directions of largest variance."""
    size = latents.shape[1]
    if size == 1:
        # A single value needs no second axis, but random heights keep the points apart.
        heights = np.random.default_rng(0).uniform(-1, 1, (len(latents), 1))
        return np.hstack([latents, heights]), ("latent 1", "(spread at random)")
    if size == 2:
        return latents, ("latent 1", "latent 2")
    centred = latents - latents.mean(axis=0)
    # The smaller of the two matrices of products has the same variances: a latent of a net with
    # skip connections may have 100,000 numbers, and there are at most a few thousand rows.
    is_wide = size > len(latents)
    products = centred @ centred.T if is_wide else centred.T @ centred
    variances, vectors = np.linalg.eigh(products)
    variances, vectors = variances[::-1].clip(min=0.0), vectors[:, ::-1][:, :2]
    points = vectors * np.sqrt(variances[:2]) if is_wide else centred @ vectors
    if len(latents) == 1:
        points = np.zeros((1, 2))
    shares = [*(variances / max(variances.sum(), np.finfo(np.float64).tiny)), 0.0]
    names = tuple(f"component {i + 1} ({shares[i]:.0%} of the variance)" for i in range(2))
    return points, (names[0], names[1])


def _scatter_by_label(
    axes: Axes, points: NDArray[np.float64], labels: NDArray[Any], distinct: list[Any], size: float
) -> None:
    for label, colour in zip(distinct, drawing.CATEGORIES, strict=False):
        of_label = points[labels == label]
        axes.scatter(
            of_label[:, 0],
            of_label[:, 1],
            s=size,
            color=colour,
            alpha=0.75,
            linewidths=0,
            label=_shortened(label),
        )
    legend = axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        frameon=False,
        fontsize=9.5,
        labelcolor=INK,
        title="label",
        handletextpad=0.2,
        markerscale=float(np.sqrt(34 / size)),
        alignment="left",
    )
    legend.get_title().set(color=SOFT_INK, fontsize=9.5)


def _scatter_by_value(
    figure: Figure,
    axes: Axes,
    points: NDArray[np.float64],
    values: NDArray[Any],
    limits: tuple[float, float],
    what: str,
    size: float,
) -> None:
    order = np.argsort(values)  # the highest values are drawn on top
    drawn = axes.scatter(
        points[order, 0],
        points[order, 1],
        s=size,
        c=values[order],
        cmap="viridis",
        alpha=0.8,
        linewidths=0,
        vmin=limits[0],
        vmax=limits[1],
    )
    box = axes.get_position()
    bar = figure.colorbar(drawn, cax=figure.add_axes((box.x1 + 0.03, box.y0, 0.018, box.height)))
    bar.outline.set_visible(False)
    bar.set_label(what, color=SOFT_INK, fontsize=9.5)
    bar.ax.tick_params(colors=SOFT_INK, labelsize=8.5, length=0)


def _shortened(label: object) -> str:
    text = str(label)
    return text if len(text) <= 14 else f"{text[:13]}…"


def error_histogram(report: RunReport) -> Figure:
    """Draws histograms of the held-out rows' errors: the autoencoder's above, others' below."""
    compared = _compared_errors(report)
    figure = drawing.new_figure(7.4, 1.6 + 1.7 * len(compared))
    panels = figure.subplots(len(compared), 1, sharex=True, squeeze=False).flatten()
    drawing.margins(figure, top=1.0, hspace=0.3)
    edges, is_log = _bin_edges(np.concatenate([_thinned(errors) for *_, errors in compared]))
    for axes, (name, colour, errors) in zip(panels, compared, strict=True):
        drawing.plain_axes(axes, y_label="rows" if len(errors) <= _MOST_DRAWN else "rows drawn")
        shown = _thinned(errors)
        shown = np.clip(shown[np.isfinite(shown)], edges[0], edges[-1])
        axes.hist(shown, bins=edges, color=colour, alpha=0.9, histtype="stepfilled")
        mean = float(errors.mean())
        axes.axvline(mean, color=INK, linewidth=1.3)
        axes.set_title(
            f"{name}: mean {mean:.4g}", loc="left", fontsize=10, color=colour, weight="bold"
        )
    lowest = panels[-1]
    if is_log:
        lowest.set_xscale("log")
        drawing.readable_log_ticks(lowest.xaxis, edges[0], edges[-1])
    lowest.set_xlim(edges[0], edges[-1])
    what = "reconstruction error" if report.noise is None else "error"
    lowest.set_xlabel(f"{what}: mean square of a row, scaled units", color=SOFT_INK, fontsize=9.5)
    subtitle = f"{len(compared[0][2]):,} held-out rows; the dark line is the mean"
    if np.isfinite(report.threshold) and report.noise is None:
        _mark_threshold(panels[0], report, edges)
        subtitle += "; above the dashed threshold a row is called an anomaly"
    is_noise = report.noise is not None
    title = "Errors of rows with noise" if is_noise else "Reconstruction errors"
    drawing.head(figure, title, subtitle)
    return figure


def _compared_errors(report: RunReport) -> list[tuple[str, str, NDArray[Any]]]:
    """Returns what is compared, each with its colour and the errors of the rows."""
    pca = f"PCA with {report.plan.latent_dim} components"
    if report.noise is None:
        others = [] if report.pca_errors is None else [(pca, OTHER, report.pca_errors)]
        return [("autoencoder", MODEL, report.errors), *others]
    names = {
        "denoised": ("denoised", MODEL),
        "pca": (pca, OTHER),
        "filter": (facts_of(report.plan.kind).noise_filter or "a filter", OTHER),
        "noisy": ("with noise", SOFT_INK),
    }
    found = report.noise.errors
    return [(*names[whose], found[whose]) for whose in names if whose in found]


def _mark_threshold(axes: Axes, report: RunReport, edges: NDArray[np.float64]) -> None:
    where = float(np.clip(report.threshold, edges[0], edges[-1]))
    axes.axvline(where, color="#c8374d", linewidth=1.4, linestyle=(0, (4, 3)))
    share = float((report.errors > report.threshold).mean())
    first, last = axes.transData.transform([(edges[0], 0), (edges[-1], 0)])[:, 0]
    is_far_right = axes.transData.transform((where, 0))[0] > first + 0.7 * (last - first)
    axes.annotate(
        f"threshold {report.threshold:.4g}\n{share:.1%} of rows above",
        (where, 0.95),
        xycoords=("data", "axes fraction"),
        xytext=(-5 if is_far_right else 5, 0),
        textcoords="offset points",
        fontsize=8.5,
        color="#c8374d",
        va="top",
        ha="right" if is_far_right else "left",
    )


def _thinned(errors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns evenly spaced errors if there are very many.

    A histogram of more looks the same, and takes more memory.
    """
    return errors[:: -(-len(errors) // _MOST_DRAWN)]


def _bin_edges(errors: NDArray[np.float32]) -> tuple[NDArray[np.float64], bool]:
    """Returns bin edges for both histograms, and whether their axis is logarithmic."""
    finite = errors[np.isfinite(errors)].astype(np.float64)
    positive = finite[finite > 0]
    if not len(positive):
        return np.linspace(0.0, 1.0, _MOST_BINS + 1), False
    bins = int(np.clip(3 * np.sqrt(len(positive) / 2), 12, _MOST_BINS))
    lowest, highest = float(positive.min()), float(positive.max())
    if drawing.spans_decades(np.quantile(positive, (0.01, 0.99))):
        return np.geomspace(lowest * 0.95, highest * 1.05, bins + 1), True
    # A few far outliers share the last bin, so that the other values can be told apart.
    top = min(highest, 4 * float(np.quantile(positive, 0.99)))
    return np.linspace(0.0, top * 1.02, bins + 1), False
