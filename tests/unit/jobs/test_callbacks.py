"""Lightning callbacks that a caller adds to a job."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import (
    EarlyStopping,
    GradientAccumulationScheduler,
    StochasticWeightAveraging,
)
from pytorch_lightning.callbacks.weight_averaging import EMAWeightAveraging

import isthmus
from isthmus.errors import UsageError

ENDED: list[int] = []


class TellsEnd(Callback):
    """Notes the epochs after which each training ended."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        ENDED.append(trainer.current_epoch)


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    factors = generator.standard_normal((600, 2))
    return (factors @ generator.standard_normal((2, 6))).astype(np.float32)


def job(**training: object) -> dict[str, object]:
    return {
        "name": "small",
        "net": {"name": "dense", "hidden": [16]},
        "latent_dim": 2,
        "training": {"early_stopping": None, "device": "cpu", **training},
    }


def test_each_member_of_an_ensemble_has_callbacks_in_the_state_in_which_they_were_given(
    rows: np.ndarray,
) -> None:
    ENDED.clear()
    stopping = EarlyStopping("validation/loss", patience=2, min_delta=1e9)  # after three epochs
    isthmus.train(job(ensemble=3, epochs=6), data=rows, callbacks=[stopping, TellsEnd()])
    assert ENDED == [3, 3, 3]
    assert stopping.stopped_epoch == 2  # the caller sees what the pair's own member did


@pytest.mark.parametrize(
    ("callback", "field"),
    [
        (EMAWeightAveraging(decay=0.99), "training.weight_average_decay"),
        (StochasticWeightAveraging(swa_lrs=1e-2), "training.weight_average_decay"),
        (GradientAccumulationScheduler({0: 4}), "training.accumulate_batches"),
    ],
    ids=["averages", "stochastic-averages", "accumulation"],
)
def test_a_callback_of_which_a_job_has_its_own_way_is_refused_with_the_field(
    rows: np.ndarray, callback: Callback, field: str
) -> None:
    with pytest.raises(UsageError, match=f"takes no callback .*; use {field}$"):
        isthmus.train(job(epochs=1), data=rows, callbacks=[callback])
    assert not list(Path.cwd().rglob("mlflow*"))  # nothing was started


def test_a_callback_that_cannot_be_copied_is_called_for_the_first_member_alone_and_that_is_told(
    rows: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    ENDED.clear()
    holder = TellsEnd()
    holder.lock = threading.Lock()  # type: ignore[attr-defined]
    isthmus.train(job(epochs=1, ensemble=3), data=rows, callbacks=[holder])
    assert ENDED == [1]
    told = [each for each in caplog.messages if "TellsEnd is called for the first" in each]
    assert len(told) == 1


class CopiesModule(Callback):
    """Notes how large a copy of the module is."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        torch.save(pl_module, "module.pt")


def test_a_copy_of_the_module_in_training_holds_no_rows(rows: np.ndarray) -> None:
    isthmus.train(job(epochs=1), data=np.tile(rows, (50, 1)), callbacks=[CopiesModule()])
    assert Path("module.pt").stat().st_size < 100_000  # the rows are 720 kB
