"""FSDP's sharded checkpoints on a real Ray, between CPU processes.

The product refuses `strategy: fsdp` on CPUs, as torch does, though torch's code runs there but for
its look at the device. So these tests skip that look, and the rest is as on GPUs: two workers that
each hold half of every layer, and write and upload their own shards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.strategies import FSDPStrategy

from isthmus.launch import ray_trainer
from isthmus.launch.ray_trainer import fit
from isthmus.launch.ray_worker import run_worker
from isthmus.progress.reporter import SilentReporter
from isthmus.progress.result import FitResult
from isthmus.progress.storage import CheckpointStorage
from tests.distributed.small_jobs import PLAIN, plan, rows, training

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.slow,
    pytest.mark.usefixtures("ray_session"),
]


class Lost(Exception):
    """A worker is lost."""


def run_sharded_worker(config: dict[str, Any]) -> None:
    """A worker of Ray Train's that shards, on a CPU; it is lost once, in its first attempt."""
    from ray.train.lightning import RayFSDPStrategy
    from torch.distributed.fsdp import fully_sharded_data_parallel as torch_fsdp
    from torch.distributed.fsdp._common_utils import _FSDPDeviceHandle

    from isthmus.strategies import choice
    from isthmus.training import checkpoint_writer, epoch_end

    def use_cpu(state: Any, *_: Any) -> Any:
        state._device_handle = _FSDPDeviceHandle(torch.device("cpu"), torch.cpu)
        return state

    torch_fsdp._init_device_handle = use_cpu
    choice._strategy = lambda *_: RayFSDPStrategy(
        auto_wrap_policy=choice.wrap_policy(50),
        state_dict_type="sharded",
    )
    epoch_end._AGREE_S = 0.0  # a checkpoint may be of any batch
    # Ray takes a second for each, so there are only those that are looked at.
    epoch_end.EpochEndCallback.save_is_due = lambda self: self.progress.epochs == 4
    write = checkpoint_writer.CheckpointWriter.write

    def write_and_be_lost(self: Any, trainer: Any, progress: Any) -> None:
        assert isinstance(trainer.strategy, FSDPStrategy)
        write(self, trainer, progress)
        if progress.attempt == 1 and progress.epochs == 4 and progress.rows_done:
            raise Lost

    checkpoint_writer.CheckpointWriter.write = write_and_be_lost
    run_worker(config)


def test_a_sharded_run_that_lost_its_workers_ends_as_one_that_was_not_sharded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole_of_two_workers: FitResult
) -> None:
    expected = whole_of_two_workers
    monkeypatch.setattr(ray_trainer, "run_worker", run_sharded_worker)
    found = fit(
        plan("plain"),
        training(workers=2, checkpoint_interval_s=0, max_failures=1, **PLAIN),
        rows(300),
        storage_path=str(tmp_path),
        run_name="sharded",
        reporter=SilentReporter(),
    )
    assert found.progress.finished
    assert found.progress.attempt == 2
    assert [report.epoch for report in found.progress.history] == list(range(1, 9))
    assert found.progress.best_loss == pytest.approx(expected.progress.best_loss, rel=1e-4)
    assert found.state is not None
    assert expected.state is not None
    torch.testing.assert_close(found.state, expected.state, rtol=1e-3, atol=1e-4, equal_nan=True)

    kept = CheckpointStorage(str(tmp_path), "sharded")
    with kept.last() as last:
        assert last is not None
        for weights in ("last.ckpt", "best"):
            shards = sorted(path.name for path in (last / weights).glob("*.distcp"))
            assert shards == ["__0_0.distcp", "__1_0.distcp"]  # one of each worker
    # A checkpoint that lacks a worker's shards is none.
    for stored in (tmp_path / "sharded").glob("checkpoint_*/last.ckpt/__1_0.distcp"):
        stored.unlink()
    with kept.last() as last:
        assert last is None
