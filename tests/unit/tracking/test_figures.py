from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from isthmus.tracking import NoisyExamples, figures
from isthmus.tracking.figures import drawings, error_histogram, latent_space, loss_curve
from isthmus.tracking.report import RunReport

KINDS = {
    "grey images": ("images", (1, 8, 8)),
    "colour images": ("images", (3, 32, 32)),
    "large images": ("images", (1, 180, 120)),
    "table": ("tabular", (6,)),
    "wide table": ("tabular", (166,)),
    "series": ("series", (1, 64)),
    "series of five channels": ("series", (5, 64)),
    "audio": ("audio", (1, 1024)),
}


def _png(figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file)
    return file.getvalue()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_every_kind_of_data_has_four_figures(kind, report_of):
    drawn = {name: _png(draw()) for name, draw in drawings(report_of(*kind)).items()}
    assert set(drawn) == {"loss.png", "reconstructions.png", "latent_space.png", "errors.png"}
    assert all(content.startswith(b"\x89PNG") for content in drawn.values())


def test_pyplot_is_left_alone(report_of):
    import matplotlib.pyplot as plt

    for draw in drawings(report_of("images", (1, 8, 8))).values():
        draw()
    assert plt.get_fignums() == []


def _odd(report: RunReport) -> dict[str, RunReport]:
    rows = len(report.inputs)
    one = {
        name: getattr(report, name)[:1]
        for name in ("inputs", "reconstructions", "latents", "labels", "errors", "pca_errors")
    }
    with_gaps = report.inputs.copy()
    with_gaps[::2, 0] = np.nan
    return {
        "one row": replace(report, **one),
        "one epoch": replace(report, history=report.history[:1]),
        "no labels": replace(report, labels=None),
        "text labels": replace(
            report, labels=np.array(["normal", "a rather long name"] * rows)[:rows]
        ),
        "many numeric labels": replace(report, labels=np.linspace(0, 1, rows)),
        "many text labels": replace(report, labels=np.array([f"id {i}" for i in range(rows)])),
        "mixed labels": replace(
            report, labels=np.array([1, "a", None] * rows, dtype=object)[:rows]
        ),
        "missing values": replace(report, inputs=with_gaps),
        "nothing learned": replace(
            report,
            reconstructions=np.zeros_like(report.inputs),
            latents=np.zeros_like(report.latents),
        ),
        "perfect": replace(
            report,
            reconstructions=report.inputs,
            errors=np.zeros_like(report.errors),
            pca_errors=np.zeros_like(report.errors),
        ),
        "no threshold": replace(report, threshold=float("nan")),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape", [("tabular", (6,)), ("images", (1, 8, 8))], ids=["table", "images"]
)
@pytest.mark.parametrize(
    "oddity",
    [
        *("one row", "one epoch", "no labels", "text labels", "many numeric labels"),
        *("many text labels", "mixed labels", "missing values", "nothing learned", "perfect"),
        "no threshold",
    ],
)
@pytest.mark.filterwarnings("error")
def test_odd_reports_are_drawn_without_a_warning(oddity, shape, report_of):
    report = _odd(report_of(*shape))[oddity]
    for draw in drawings(report).values():
        assert _png(draw())


@pytest.mark.parametrize("latent_dim", [1, 2, 3])
def test_latents_of_any_size_become_points_in_a_plane(latent_dim, report_of):
    figure = latent_space(report_of("tabular", (6,), latent_dim=latent_dim))
    assert _png(figure)


def test_a_loss_that_falls_by_decades_is_drawn_on_a_logarithmic_axis(report_of, epoch):
    report = report_of("tabular", (6,))
    steep = replace(report, history=[epoch(i, 1000 * 0.5**i) for i in range(1, 15)])
    assert loss_curve(steep).axes[0].get_yscale() == "log"
    flat = replace(report, history=[epoch(i, 10 - i / 10) for i in range(1, 15)])
    assert loss_curve(flat).axes[0].get_yscale() == "linear"


def test_the_best_epoch_is_marked(report_of, epoch):
    losses = [5, 3, 2, 1, 1.5, 1.7]
    history = [epoch(number, loss) for number, loss in enumerate(losses, 1)]
    figure = loss_curve(replace(report_of("tabular", (6,)), history=history))
    marks = [line for line in figure.axes[0].lines if line.get_label() == "best epoch"]
    assert marks[0].get_xdata()[0] == 4


def test_labels_get_a_legend_up_to_twelve_of_them(report_of):
    report = report_of("tabular", (6,))
    few = latent_space(replace(report, labels=np.arange(60) % 12)).axes[0].get_legend()
    assert [text.get_text() for text in few.get_texts()] == [str(i) for i in range(12)]
    assert latent_space(replace(report, labels=np.arange(60) % 13)).axes[0].get_legend() is None


def test_the_histogram_says_how_many_rows_are_above_the_threshold(report_of):
    report = report_of("tabular", (6,))
    figure = error_histogram(replace(report, threshold=float(np.quantile(report.errors, 0.9))))
    assert any("10.0% of rows above" in text.get_text() for text in figure.axes[0].texts)


def test_pca_is_beside_the_autoencoder_on_the_same_scale(report_of):
    upper, lower = error_histogram(report_of("tabular", (6,))).axes
    assert upper.get_title("left").startswith("autoencoder: mean")
    assert lower.get_title("left").startswith("PCA with 4 components: mean")
    assert upper.get_xlim() == lower.get_xlim()


def of_a_denoiser(report: RunReport) -> RunReport:
    noise = 0.3 * np.random.default_rng(1).standard_normal(report.inputs.shape)
    noisy = (report.inputs + noise).astype(np.float32)
    errors = {"noisy": 9 * report.errors, "denoised": report.errors, "filter": 2 * report.errors}
    examples = NoisyExamples(report.inputs, noisy, report.reconstructions, errors)
    return replace(report, noise=examples, pca_errors=None)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_a_denoiser_shows_clean_noisy_and_denoised_rows_side_by_side(kind, report_of):
    report = of_a_denoiser(report_of(*kind))
    figure = drawings(report)["reconstructions.png"]()
    legends = [each for legend in figure.legends for each in legend.get_texts()]
    titles = [axes.title for axes in figure.axes]
    said = [text.get_text() for text in (*figure.texts, *legends, *titles)]
    assert {"clean", "with noise", "denoised"} <= set(said)
    assert _png(figure)


def test_the_errors_of_a_denoiser_stand_beside_those_of_the_filter_and_of_the_noise(report_of):
    figure = error_histogram(of_a_denoiser(report_of("images", (1, 8, 8))))
    titles = [axes.get_title(loc="left").partition(":")[0] for axes in figure.axes]
    assert titles == ["denoised", "non-local means", "with noise"]


def test_latents_of_any_width_take_little_memory(report_of):
    """A latent of a net with skip connections has 100,000 numbers, whose square is 80 GB."""
    report = report_of("images", (1, 64, 64), latent_dim=118_784)
    figure = latent_space(report)
    assert _png(figure)
    narrow = np.random.default_rng(0).standard_normal((60, 200)) * np.linspace(3, 1, 200)
    many = np.concatenate([narrow, narrow[::-1]] * 3)
    wide, plain = (figures._in_two_dimensions(each) for each in (narrow, many))
    # The same directions, whichever of the two matrices of products is decomposed.
    np.testing.assert_allclose(np.abs(wide[0]), np.abs(plain[0][:60]), rtol=1e-6)
    assert wide[1] == plain[1]


def test_of_very_wide_latents_some_numbers_are_looked_at_and_the_figure_says_so(report_of):
    report = report_of("images", (1, 64, 64), latent_dim=118_784)
    figure = latent_space(replace(report, latents=report.latents[:, ::8]))
    said = " ".join(text.get_text() for text in figure.texts)
    assert "118,784 dimensions, of which 14,848 evenly spaced ones are looked at" in said
