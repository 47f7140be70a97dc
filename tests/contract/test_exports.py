"""Every variant, and every net, is exported as ONNX graphs that do what torch does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from isthmus import nets, scores, variants
from isthmus.bundle.export import export_graphs
from isthmus.bundle.graphs import graphs_of, write_graph
from isthmus.core import Autoencoder, VariationalAutoencoder
from isthmus.scores import Detector, Views, detector_of
from isthmus.spec import PluginSpec
from isthmus.types import DataKind, ReconstructionLoss
from tests.contract.test_every_variant import SHAPES, build, losses_for, takes

ROWS = 40


def first_kind(variant: str, net: str) -> DataKind | None:
    return next((kind for kind in DataKind if takes(variant, net, kind)), None)


def smallest_net(variant: str) -> tuple[str, DataKind]:
    """The net that `auto` chooses for the variant's first kind."""
    kind = variants.get(variant).KINDS[0]
    return nets.for_kind(kind).name, kind


# One net for each variant; and each net with a variant that takes it.
EACH_VARIANT = [(variant, *smallest_net(variant)) for variant in variants.names()]
EACH_NET = [
    next(
        (variant, net, kind)
        for variant in ("plain", "denoising", "hyperprior")
        if (kind := first_kind(variant, net)) is not None
    )
    for net in nets.names()
]
# What an exporter might count rows in, where the nets leave it little to see.
HARD = [("topk", "transformer", DataKind.SERIES), ("residual_vq", "vit", DataKind.IMAGES)]
FAST = list(dict.fromkeys([*EACH_VARIANT, *EACH_NET, *HARD]))
NETS_OF_ATTENTION = [("transformer", DataKind.SERIES), ("vit", DataKind.IMAGES)]
# Attention is what an exporter has mistaken together with a variant: some variants over it need
# the thorough exporter. Of every other net a variant sees a latent alone, as of its first one.
ATTENTION = [
    next((variant, net, kind) for net, kind in NETS_OF_ATTENTION if takes(variant, net, kind))
    for variant in variants.names()
    if any(takes(variant, *each) for each in NETS_OF_ATTENTION)
]
COMBINATIONS = [
    pytest.param(*each, id="-".join(each), marks=() if each in FAST else (pytest.mark.slow,))
    for each in dict.fromkeys([*FAST, *ATTENTION])
]


def calibrated(module: Autoencoder, rows: torch.Tensor) -> Detector:
    module.scaling.fit(torch.tensor(0.5), torch.tensor(2.0))
    detector = detector_of(module.eval())
    with torch.inference_mode():
        detector.calibration.fit(detector.score(rows).sort().values[: ROWS * 4 // 5])
    return detector


def rows_of(kind: DataKind) -> torch.Tensor:
    rows = torch.rand(ROWS, *SHAPES[kind], generator=torch.Generator().manual_seed(3))
    rows[1].flatten()[0] = torch.nan  # a gap, which scaling fills
    return rows


@pytest.mark.parametrize(("variant", "net", "kind"), COMBINATIONS)
def test_the_graphs_give_latents_rows_scores_and_labels_as_torch_does(
    variant: str, net: str, kind: DataKind, tmp_path: Path
) -> None:
    rows = rows_of(kind)
    detector = calibrated(build(variant, net, kind), rows)
    module, calibration = detector.module, detector.calibration
    exported = export_graphs(detector, rows.numpy(), tmp_path / "graphs", fills_missing=True)
    assert max(exported.record.largest_differences.values()) < 1e-4
    # What the export itself has compared is compared once more here, from its files alone, with
    # as many rows as nothing was traced or compared with.
    few = rows[:11]
    with torch.inference_mode():
        z, scores = module.encode(few), detector.score(few)
        x_hat, p_values = module.decode(z), calibration.p_values(scores)
    (latent,) = run(exported.files["encoder"][0], "row", few)
    (row,) = run(exported.files["decoder"][0], "latent", z)
    score, p_value, is_anomaly = run(exported.files["score"][0], "row", few)
    np.testing.assert_allclose(latent, z, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(row, x_hat, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(score, scores, rtol=1e-3, atol=1e-6)
    # A row that the calibration itself is made of may fall to either side of its own quantile.
    np.testing.assert_allclose(p_value, p_values, atol=1.5 / ROWS)
    clear = (scores - calibration.threshold).abs() > 1e-4
    np.testing.assert_array_equal(is_anomaly[clear], calibration.is_anomaly(scores)[clear])


@pytest.mark.parametrize("kind", [DataKind.IMAGES, DataKind.SERIES])
@pytest.mark.parametrize("residual", [True, False])
def test_the_graphs_estimate_the_noise_level_as_torch_does(
    kind: DataKind, residual: bool, tmp_path: Path
) -> None:
    rows = rows_of(kind)
    options = {"noise_level": "estimated", "residual": residual, "channels": [8, 8], "blocks": 1}
    net = PluginSpec(name="drunet", options=options)
    plan = build("denoising", "drunet", kind).plan.model_copy(
        update={"net": net, "latent_dim": nets.made_for(net, SHAPES[kind]).fixed_latent_dim()}
    )
    detector = calibrated(variants.build(plan), rows)
    exported = export_graphs(detector, rows.numpy(), tmp_path / "graphs", fills_missing=True)
    few = rows[:11]
    with torch.inference_mode():
        z = detector.module.encode(few)
    (latent,) = run(exported.files["encoder"][0], "row", few)
    np.testing.assert_allclose(latent, z, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", variants.names())
def test_the_graph_of_a_fitted_score_takes_any_number_of_rows(variant: str, tmp_path: Path) -> None:
    kind = variants.get(variant).KINDS[-1]
    rows = rows_of(kind).nan_to_num()
    module = build(variant, nets.for_kind(kind).name, kind).eval()
    score = scores.build(PluginSpec(name="kernel_denoising"))
    with torch.no_grad():
        score.fit(Views(module, rows), Views(module, rows), 0)
    detector = Detector(module, [score.eval()], []).eval()
    with torch.inference_mode():
        detector.calibration.fit(detector.score(rows).sort().values)
    exported = export_graphs(detector, rows.numpy(), tmp_path / "graphs", fills_missing=True)
    for count in (1, 11):
        found, *_ = run(exported.files["score"][0], "row", rows[:count])
        assert found.shape == (count,)


@pytest.mark.parametrize("loss", [ReconstructionLoss.BCE, ReconstructionLoss.GAUSSIAN_NLL])
def test_the_graphs_hold_the_output_activation_of_the_loss(
    loss: ReconstructionLoss, tmp_path: Path
) -> None:
    rows = rows_of(DataKind.TABULAR)
    module = build("plain", "dense", DataKind.TABULAR, reconstruction=loss)
    export_graphs(calibrated(module, rows), rows.numpy(), tmp_path / "graphs", fills_missing=True)


@pytest.mark.parametrize(
    "variant",
    [each for each in variants.names() if issubclass(variants.get(each), VariationalAutoencoder)],
)
def test_the_fast_exporter_writes_the_graph_of_every_bound(variant: str, tmp_path: Path) -> None:
    """The slow exporter takes seconds more of each training, and prints pages of its own."""
    rows = rows_of(DataKind.TABULAR)
    loss = ReconstructionLoss.GAUSSIAN_NLL
    module = build(variant, "dense", DataKind.TABULAR, reconstruction=loss)
    *_, graph = graphs_of(calibrated(module, rows), fills_missing=True)
    assert write_graph(graph, rows[:2], tmp_path, "traced")


@pytest.mark.parametrize("loss", losses_for("vae", "dense", DataKind.TABULAR))
def test_the_graph_of_a_bound_holds_the_likelihood_of_the_loss(
    loss: ReconstructionLoss, tmp_path: Path
) -> None:
    rows = rows_of(DataKind.TABULAR)
    module = build("vae", "dense", DataKind.TABULAR, reconstruction=loss)
    detector = calibrated(module, rows)
    exported = export_graphs(detector, rows.numpy(), tmp_path / "graphs", fills_missing=True)
    with torch.inference_mode():
        wanted = module.score(rows)
    score, *_ = run(exported.files["score"][0], "row", rows)
    np.testing.assert_allclose(score, wanted, rtol=1e-3, atol=1e-5)


def run(file: Path, name: str, values: torch.Tensor) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # others test beside this process
    session = onnxruntime.InferenceSession(file, options)
    return session.run(None, {name: values.numpy()})
