"""One worker on a GPU through Ray, with each of Lightning's strategies over NCCL."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from isthmus.errors import SpecError
from isthmus.jobs.specs import check_job
from isthmus.launch.ray_trainer import fit
from isthmus.progress.reporter import Reporters
from tests.distributed.small_jobs import plan, rows, training

JOB = {"name": "sharded", "data": "rows.npy"}


@pytest.mark.gpu
@pytest.mark.distributed
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_strategy_trains_to_the_losses_of_one_process(strategy: str, tmp_path: Path) -> None:
    found, expected = (
        fit(
            plan("plain"),
            training(device="gpu", precision="float32", strategy=name),
            rows(),
            storage_path=str(tmp_path),
            run_name=name,
            reporter=Reporters(),
        )
        for name in (strategy, "auto")
    )
    assert found.progress.finished
    assert found.progress.best_loss == pytest.approx(expected.progress.best_loss, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cpu"}, "strategy=fsdp needs GPUs"),
        ({"weight_average_decay": 0.9}, "strategy=fsdp does not go with weight_average_decay=0.9"),
        ({"comm_hook": "powersgd"}, "strategy=fsdp does not go with comm_hook=powersgd"),
    ],
)
def test_sharding_is_refused_where_it_cannot_be(options: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        check_job({**JOB, "training": {"strategy": "fsdp", **options}})
