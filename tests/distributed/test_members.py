"""The members of an ensemble are trained side by side in Ray's tasks."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from pytorch_lightning import Callback, LightningModule, Trainer

from isthmus.errors import TrainingError
from isthmus.launch.ray_members import Member, fit_members
from isthmus.progress.result import FitResult
from tests.distributed.small_jobs import plan, rows, same_weights, training
from tests.titles import title_of

pytestmark = [pytest.mark.distributed, pytest.mark.usefixtures("ray_session")]


def members(*seeds: int, **options: object) -> list[Member]:
    return [
        Member(training(seed=seed, threads_per_worker=1, **options), f"member-{seed}")
        for seed in seeds
    ]


def fit(storage: Path, chosen: list[Member], done: list[int] | None = None) -> list[FitResult]:
    told = [] if done is None else done
    return fit_members(
        plan("plain"), chosen, rows(), storage_path=str(storage), on_done=told.append
    )


def test_members_differ_by_their_seeds_and_equal_seeds_give_equal_weights(tmp_path: Path) -> None:
    done: list[int] = []
    first = fit(tmp_path / "first", members(1, 2), done)
    again = fit(tmp_path / "again", members(2))
    assert done == [1, 2]
    assert all(result.progress.finished for result in first)
    assert not same_weights(first[0], first[1])
    assert same_weights(first[1], again[0])


class WritesFile(Callback):
    """Writes a file at the end of training."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._path.write_text(str(trainer.current_epoch), encoding="utf-8")


def test_the_callbacks_of_a_member_are_called_in_its_task(tmp_path: Path) -> None:
    given = [
        replace(each, callbacks=(WritesFile(tmp_path / each.run_name),))
        for each in members(1, 2, epochs=2)
    ]
    fit(tmp_path / "store", given)
    assert [(tmp_path / each.run_name).read_text() for each in given] == ["2", "2"]


def test_a_member_learns_from_its_own_rows(tmp_path: Path) -> None:
    part = Member(training(seed=1, threads_per_worker=1), "part", np.arange(0, 100, 2))
    found = fit(tmp_path, [*members(1), part])
    assert not same_weights(found[0], found[1])


def test_ctrl_c_keeps_the_finished_members_and_the_others_go_on_later(tmp_path: Path) -> None:
    chosen = [*members(1), *members(2, epochs=3000)]

    def stop(done: int) -> None:
        raise KeyboardInterrupt

    found = fit_members(plan("plain"), chosen, rows(), storage_path=str(tmp_path), on_done=stop)
    assert [result.progress.finished for result in found] == [True, False]


def test_a_lost_worker_is_replaced_and_its_member_goes_on(tmp_path: Path) -> None:
    chosen = members(3, epochs=1500, checkpoint_interval_s=0.2)

    def kill() -> None:
        while not any(tmp_path.rglob("progress*")):
            time.sleep(0.05)
        for process in psutil.Process().children(recursive=True):
            if "ray::_fit" in title_of(process):
                process.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    (found,) = fit(tmp_path, chosen)
    killer.join()
    assert found.progress.finished
    assert found.progress.attempt == 2
    (whole,) = fit(tmp_path / "whole", chosen)
    assert same_weights(found, whole)


def test_a_member_that_diverges_is_told_in_one_line(tmp_path: Path) -> None:
    chosen = members(1, learning_rate=10.0, gradient_clip_norm=None)
    scaled = rows()
    with pytest.raises(TrainingError) as caught:
        fit_members(
            plan("plain"),
            chosen,
            type(scaled)(scaled.train * 1e30, scaled.validation, scaled.offset, scaled.scale),
            storage_path=str(tmp_path),
            on_done=lambda _: None,
        )
    assert "loss became" in str(caught.value)
    assert "\n" not in str(caught.value)
