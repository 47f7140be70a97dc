"""A step that a GPU recorded learns what the same step learns that is taken from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from isthmus import nets, variants
from isthmus.training.cuda_graph_step import CudaGraphStep
from isthmus.types import DataKind
from tests.unit.training.fitting import BATCH, ROWS, job_of, kind_of, trained

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU"),
]

RECORDED = [BATCH, ROWS % BATCH]  # the last step of an epoch is a smaller one
# Two change with the epoch, one waits to know whether its matrices could be factored, and
# adversaries take the steps of two optimizers by themselves.
NOT_RECORDED = ("aae", "dagmm", "deep_svdd", "usad")


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each recording that is made."""
    made: list[int] = []
    record = CudaGraphStep._record

    def counted(self: CudaGraphStep, rows: torch.Tensor) -> Any:
        made.append(len(rows))
        return record(self, rows)

    monkeypatch.setattr(CudaGraphStep, "_record", counted)
    return made


def both_ways(
    folder: Path, kind: DataKind, job: dict[str, Any], **more: Any
) -> tuple[list[float], list[float]]:
    more["device"] = "gpu"
    recorded = trained(folder / "recorded", kind, job, **more)
    return recorded, trained(folder / "stepwise", kind, job, **{**more, "cuda_graphs": False})


@pytest.mark.parametrize("name", variants.names())
def test_each_variant_learns_the_same(name, tmp_path, replays):
    recorded, stepwise = both_ways(tmp_path, *job_of(name))
    assert recorded == pytest.approx(stepwise, rel=2e-3)
    assert replays == ([] if name in NOT_RECORDED else RECORDED)


@pytest.mark.parametrize("name", nets.names())
def test_each_net_learns_the_same(name, tmp_path, replays):
    kind = kind_of(name, nets)
    job: dict[str, Any] = {"net": {"name": name}}
    if name == "unet":
        job |= {"variant": "denoising", "latent_dim": "auto"}
    recorded, stepwise = both_ways(tmp_path, kind, job)
    assert recorded == pytest.approx(stepwise, rel=2e-3)
    assert replays == RECORDED


@pytest.mark.parametrize(
    "training",
    [
        {"precision": "float32"},
        {"precision": "float16"},
        {"schedule": "cosine", "warm_up_epochs": 1, "learning_rate": 1e-2},
        {"gradient_clip_norm": 0.1},
        {"accumulate_batches": 2},
        {"weight_average_decay": 0.9},
        {"cuda_graphs": False},
    ],
    ids=str,
)
def test_so_does_each_way_to_train(training, tmp_path, replays):
    recorded, stepwise = both_ways(
        tmp_path, DataKind.TABULAR, {"net": {"name": "dense"}}, **training
    )
    assert recorded == pytest.approx(stepwise, rel=2e-3)
    assert recorded[-2] < recorded[0]
    is_stepwise = training.get("precision") == "float16" or "cuda_graphs" in training
    assert replays == ([] if is_stepwise else RECORDED)


def test_what_cannot_be_recorded_is_taken_as_it_is(tmp_path, monkeypatch, replays):
    plain = variants.get("plain")
    loss = plain.loss

    def waiting(self: Any, x: torch.Tensor) -> Any:
        output = loss(self, x + 0.1 * torch.randn_like(x))
        assert output.total.item() == output.total.item()
        return output

    monkeypatch.setattr(plain, "loss", waiting)
    recorded, stepwise = both_ways(tmp_path, DataKind.TABULAR, {"net": {"name": "dense"}})
    assert recorded == pytest.approx(stepwise, rel=2e-3)
    assert replays == []
