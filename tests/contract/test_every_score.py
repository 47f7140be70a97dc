"""What every score promises, over several variants and kinds of data: a new one is covered."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from isthmus import scores
from isthmus.bundle.export import export_graphs
from isthmus.core import Autoencoder
from isthmus.scores import Detector, Score, Views
from isthmus.spec import PluginSpec
from isthmus.types import DataKind
from tests.contract.test_every_variant import SHAPES, build

# Variants whose latents differ in kind: numbers, means, codes, and a latent wider than the row.
MODELS = [
    ("plain", "dense", DataKind.TABULAR),
    ("vae", "dense", DataKind.TABULAR),
    ("plain", "conv", DataKind.IMAGES),
    ("vqvae", "conv", DataKind.IMAGES),
    ("denoising", "unet", DataKind.IMAGES),
    ("plain", "temporal", DataKind.SERIES),
    ("plain", "temporal", DataKind.AUDIO),
]
# A graph takes long to export. A score is the same for all rows of numbers, and is told apart by
# the latents; what it is given of the other models is seen by the score that combines others.
EXPORTED = [
    (name, *model)
    for name in scores.names()
    for model in MODELS
    if name == "consensus" or model in (MODELS[0], MODELS[3])
]
every_score = pytest.mark.parametrize("name", scores.names())
every_model = pytest.mark.parametrize(
    ("variant", "net", "kind"), [pytest.param(*each, id="-".join(each)) for each in MODELS]
)


def rows_of(kind: DataKind, count: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, *SHAPES[kind], generator=generator)


def fitted(name: str, module: Autoencoder, kind: DataKind, *, held_out: int = 10) -> Score:
    score = scores.build(PluginSpec(name=name))
    with torch.no_grad():
        train = Views(module.eval(), rows_of(kind, 60))
        score.fit(train, Views(module, rows_of(kind, held_out, seed=2)), seed=3)
    return score.eval()


def scored(score: Score, module: Autoencoder, rows: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return score(Views(module, rows))


def same(state: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return state.keys() == other.keys() and all(torch.equal(state[n], other[n]) for n in state)


@every_score
@every_model
def test_rows_get_a_finite_score_each_whatever_batch_they_are_in(
    name: str, variant: str, net: str, kind: DataKind
) -> None:
    module = build(variant, net, kind)
    score, rows = fitted(name, module, kind), rows_of(kind, 30, seed=4)
    together = scored(score, module, rows)
    alone = torch.cat([scored(score, module, row) for row in rows.split(1)])
    assert together.shape == (30,)
    assert torch.isfinite(together).all()
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)


@every_score
@every_model
def test_a_stored_score_gives_the_same_and_its_seed_alone_decides(
    name: str, variant: str, net: str, kind: DataKind
) -> None:
    module = build(variant, net, kind)
    score = fitted(name, module, kind)
    torch.rand(7)  # the global generator decides nothing
    assert same(score.state_dict(), fitted(name, module, kind).state_dict())
    restored = scores.build(PluginSpec(name=name))
    restored.restore(score.state_dict())
    rows = rows_of(kind, 5, seed=4)
    assert torch.equal(scored(score, module, rows), scored(restored.eval(), module, rows))


@every_score
@pytest.mark.parametrize("held_out", [1, 10])
def test_huge_values_score_highest_and_finite(name: str, held_out: int) -> None:
    module = build("plain", "dense", DataKind.TABULAR)
    score = fitted(name, module, DataKind.TABULAR, held_out=held_out)
    usual = scored(score, module, rows_of(DataKind.TABULAR, 50, seed=4))
    rows = rows_of(DataKind.TABULAR, 4, seed=5)
    rows[:, 0] = torch.tensor([1e3, -1e6, 1e12, 1e30])
    found = scored(score, module, rows)
    assert torch.isfinite(found).all()
    assert (found > usual.max()).all()


@every_score
def test_equal_rows_and_single_rows_can_be_learned(name: str) -> None:
    module = build("plain", "dense", DataKind.TABULAR).eval()
    one = rows_of(DataKind.TABULAR, 1)
    for train in (one.repeat(40, 1), one.repeat(2, 1)):
        score = scores.build(PluginSpec(name=name))
        with torch.no_grad():
            score.fit(Views(module, train), Views(module, one), seed=0)
        found = scored(score, module, torch.cat([one, one + 10]))
        assert torch.isfinite(found).all()
        assert found[1] > found[0]


@pytest.mark.parametrize(
    ("name", "variant", "net", "kind"),
    [pytest.param(*each, id="-".join(each)) for each in EXPORTED],
)
def test_the_graph_of_a_score_does_as_torch_does(
    name: str, variant: str, net: str, kind: DataKind, tmp_path: Path
) -> None:
    module = build(variant, net, kind)
    detector = Detector(module, [fitted(name, module, kind)]).eval()
    rows = rows_of(kind, 30, seed=4)
    with torch.inference_mode():
        wanted = detector.score(rows)
        detector.calibration.fit(wanted)
    export_graphs(detector, rows.numpy(), tmp_path / "graphs", fills_missing=True)
    session = onnxruntime.InferenceSession(next(tmp_path.rglob("score.onnx")))
    found = session.run(None, {"row": rows.numpy()})[0]
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-2, atol=1e-3)
