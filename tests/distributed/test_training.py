"""Training through a real Ray, with real workers; and in this process, where one is enough."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Literal

import psutil
import pytest
import torch

from isthmus.errors import ClusterError, TrainingError
from isthmus.launch.in_process import fit_in_process
from isthmus.launch.ray_trainer import fit
from isthmus.loaders.scaled_rows import ScaledRows
from isthmus.progress.reporter import EpochReport
from isthmus.progress.result import FitResult
from isthmus.progress.storage import CheckpointStorage
from isthmus.spec import EarlyStoppingSpec
from tests.distributed.small_jobs import PLAIN, plan, rows, same_weights, training
from tests.titles import title_of

pytestmark = [pytest.mark.distributed, pytest.mark.usefixtures("ray_session")]


class Recorder:
    """A reporter that keeps what it hears, and may do something when an epoch is over."""

    def __init__(self, after_epoch: int = 0, action: object = None) -> None:
        self.started: list[tuple[int, int, int]] = []
        self.epochs: list[EpochReport] = []
        self._after_epoch = after_epoch
        self._action = action

    def on_start(self, epochs: int, rows: int, first_epoch: int) -> None:
        self.started.append((epochs, rows, first_epoch))

    def on_rows(self, epoch: int, done: int) -> None:
        pass

    def on_epoch(self, report: EpochReport) -> None:
        self.epochs.append(report)
        if report.epoch == self._after_epoch and callable(self._action):
            self._action()


Where = Literal["ray", "here"]


def train(
    storage: Path,
    name: str,
    reporter: Recorder | None = None,
    variant: str = "denoising",
    where: Where | None = None,
    scaled: ScaledRows | None = None,
    **options: object,
) -> FitResult:
    spec = training(**options)
    made, scaled, reporter = plan(variant), scaled or rows(), reporter or Recorder()
    # Ray takes seconds to start workers: it is asked where it matters.
    if where == "ray" or spec.workers > 1:
        return fit(made, spec, scaled, storage_path=str(storage), run_name=name, reporter=reporter)
    place = CheckpointStorage(str(storage), name)
    is_resumed = (storage / name).exists()
    return fit_in_process(
        made, spec, scaled, storage=lambda: place, is_resumed=is_resumed, reporter=reporter
    )


def test_two_workers_keep_the_weights_they_start_with_where_every_epoch_is_worse(
    tmp_path: Path,
) -> None:
    begun = train(tmp_path, "trained", epochs=5)
    spec = training(workers=2, epochs=1, learning_rate=0.5)
    place = {"storage_path": str(tmp_path), "run_name": "worse", "reporter": Recorder()}
    warm = fit(plan(), spec, rows(), **place, weights=begun.state)
    assert warm.progress.finished
    assert warm.progress.best_epoch == 0
    assert warm.progress.best_loss < warm.progress.history[0].validation["loss"]
    assert begun.state is not None
    assert warm.state is not None
    assert all(torch.equal(begun.state[name], warm.state[name]) for name in begun.state)


def test_all_workers_start_with_the_weights_that_are_given(tmp_path: Path) -> None:
    begun = train(tmp_path, "begun")
    spec = training(workers=2, epochs=1, learning_rate=1e-9)
    place = {"storage_path": str(tmp_path), "run_name": "warm", "reporter": Recorder()}
    warm = fit(plan(), spec, rows(), **place, weights=begun.state)
    assert begun.state is not None
    assert warm.state is not None
    for name, tensor in begun.state.items():
        assert torch.allclose(tensor, warm.state[name], atol=1e-6), name


def test_the_same_seed_gives_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    first, again = (train(tmp_path, name) for name in ("first", "again"))
    assert first.progress.finished
    assert same_weights(first, again)
    assert not same_weights(first, train(tmp_path, "other", seed=1))


def test_two_workers_that_share_each_step_train_as_one_does(
    tmp_path: Path, whole_of_two_workers: FitResult
) -> None:
    one, two = (
        train(tmp_path, "one", variant="plain", scaled=rows(300), **PLAIN),
        whole_of_two_workers,
    )
    assert one.state is not None
    assert two.state is not None
    torch.testing.assert_close(one.state, two.state, rtol=1e-3, atol=1e-4, equal_nan=True)
    assert two.progress.best_loss < 0.9 * two.progress.history[0].validation["loss"]


def _press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(("where", "then"), [("ray", "ray"), ("here", "here"), ("here", "ray")])
def test_a_run_stopped_by_ctrl_c_and_resumed_matches_the_uninterrupted_run(
    tmp_path: Path, where: Where, then: Where
) -> None:
    whole = train(tmp_path, "whole", epochs=40)
    # From another thread, so that it comes while the driver waits, as a person's does.
    pressed = Recorder(after_epoch=3, action=threading.Timer(0.05, _press_ctrl_c).start)
    stopped = train(tmp_path, "stopped", pressed, where=where, epochs=40)
    assert not stopped.progress.finished
    assert 3 <= stopped.progress.epochs < 40
    recorder = Recorder()
    resumed = train(tmp_path, "stopped", recorder, where=then, epochs=40)
    assert resumed.progress.finished
    assert recorder.epochs[0].epoch == stopped.progress.epochs + 1
    assert recorder.epochs[0].attempt == 2
    assert same_weights(whole, resumed)
    assert [r.validation for r in resumed.progress.history] == [
        r.validation for r in whole.progress.history
    ]


def test_a_run_that_was_trained_here_and_not_yet_registered_is_resumed_on_ray(
    tmp_path: Path,
) -> None:
    here = train(tmp_path, "run", epochs=3)
    again = train(tmp_path, "run", where="ray", epochs=3)
    assert again.progress.finished
    assert same_weights(here, again)


def train_and_lose_a_worker(storage: Path, **options: object) -> FitResult:
    """Trains on Ray and kills a worker after the third epoch."""
    recorder = Recorder(after_epoch=3, action=_kill_one_training_worker)
    # Each epoch is kept, which Ray notes within a second or two: no more than are needed.
    kept = {"checkpoint_interval_s": 0, "epochs": 8}
    hurt = train(storage, "hurt", recorder, where="ray", **{**options, **kept})
    assert hurt.progress.finished
    assert hurt.progress.attempt == 2
    assert [report.epoch for report in recorder.epochs] == list(range(1, 9))
    return hurt


def test_a_lost_worker_is_replaced_and_the_run_matches_the_uninterrupted_one(
    tmp_path: Path,
) -> None:
    whole = train(tmp_path, "whole", epochs=8)
    assert same_weights(whole, train_and_lose_a_worker(tmp_path))


def test_one_of_two_workers_is_lost_and_the_run_matches_the_uninterrupted_one(
    tmp_path: Path, whole_of_two_workers: FitResult
) -> None:
    plain = {"variant": "plain", "workers": 2, "scaled": rows(300), **PLAIN}
    assert same_weights(whole_of_two_workers, train_and_lose_a_worker(tmp_path, **plain))


def _kill_one_training_worker() -> None:
    for process in psutil.Process().children(recursive=True):
        title = title_of(process)
        if title.startswith("ray::") and "TrainWorker" in title:
            process.kill()
            return
    raise AssertionError("no training worker was found")


def test_training_in_this_process_gives_the_weights_that_ray_gives(tmp_path: Path) -> None:
    options = {"schedule": "cosine", "weight_average_decay": 0.9, "gradient_clip_norm": 1.0}
    torch.manual_seed(5)
    on_ray, here = (train(tmp_path, where, where=where, **options) for where in ("ray", "here"))
    assert same_weights(on_ray, here)
    assert on_ray.progress.history[-1].train == here.progress.history[-1].train
    # And leaves the caller's own draws as they would have been.
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert drawn == torch.rand(1)
    assert not torch.are_deterministic_algorithms_enabled()


def test_early_stopping_keeps_the_weights_of_the_best_epoch(tmp_path: Path) -> None:
    result = train(
        tmp_path,
        "early",
        epochs=500,
        learning_rate=0.05,
        early_stopping=EarlyStoppingSpec(patience=3).model_dump(),
    )
    losses = [report.validation["loss"] for report in result.progress.history]
    assert result.progress.finished
    assert result.progress.epochs == result.progress.best_epoch + 3 < 500
    assert result.progress.best_loss == min(losses) == losses[result.progress.best_epoch - 1]


@pytest.mark.parametrize("where", ["ray", "here"])
def test_divergence_ends_in_one_line_that_names_the_learning_rate(
    tmp_path: Path, where: Where
) -> None:
    huge = ScaledRows(rows().train * 1e19, rows().validation * 1e19, rows().offset, rows().scale)
    with pytest.raises(TrainingError, match=r"became (nan|inf) in epoch \d+; lower training.learn"):
        train(
            tmp_path, "diverges", variant="plain", where=where, scaled=huge, epochs=50,
            learning_rate=10.0,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(
            {"workers": 512, "global_batch_size": 512}, "workers=512", id="too-many-workers"
        ),
        pytest.param({"device": "gpu"}, "device=gpu", id="no-gpu"),
    ],
)
def test_what_the_cluster_cannot_give_is_refused_before_it_is_waited_for(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    if options.get("device") == "gpu" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ClusterError, match=message):
        train(tmp_path, "impossible", where="ray", **options)


def test_the_learning_rate_warms_up_and_falls_as_a_cosine(tmp_path: Path) -> None:
    recorder = Recorder()
    train(
        tmp_path, "cosine", recorder, epochs=10, schedule="cosine", warm_up_epochs=2,
        learning_rate=1e-2, final_learning_rate_share=0.1,
    )  # fmt: skip
    rates = [report.learning_rate for report in recorder.epochs]
    assert rates[1] == pytest.approx(1e-2, rel=0.02)
    assert rates[0] == pytest.approx(0.5e-2, rel=0.2)
    assert rates[5] == pytest.approx(1e-2 * (0.1 + 0.9 * 0.5), rel=0.05)
    assert rates[-1] == pytest.approx(1e-3, rel=0.05)


def test_averaged_weights_are_what_is_validated_and_kept(tmp_path: Path) -> None:
    trained = train(tmp_path, "trained")
    # An average that forgets at once is the last step's weights.
    forgetful = train(tmp_path, "forgetful", weight_average_decay=1e-12)
    averaged = train(tmp_path, "averaged", weight_average_decay=0.9)
    assert same_weights(trained, forgetful)
    assert not same_weights(trained, averaged)
    assert trained.progress.history[0].validation != averaged.progress.history[0].validation
    assert trained.progress.history[0].train == averaged.progress.history[0].train


def test_a_run_with_schedule_and_average_resumes_as_if_nothing_had_been(tmp_path: Path) -> None:
    options = {"epochs": 40, "schedule": "linear", "weight_average_decay": 0.95}
    whole = train(tmp_path, "whole", **options)
    pressed = Recorder(after_epoch=3, action=threading.Timer(0.05, _press_ctrl_c).start)
    assert not train(tmp_path, "stopped", pressed, **options).progress.finished
    assert same_weights(whole, train(tmp_path, "stopped", **options))


def test_a_step_taken_in_parts_is_the_step_taken_at_once(tmp_path: Path) -> None:
    options = {"variant": "plain", "epochs": 3, "global_batch_size": 60}
    whole = train(tmp_path, "whole", **options)
    parts = train(tmp_path, "parts", accumulate_batches=2, **options)
    assert whole.state is not None
    assert parts.state is not None
    # The last step of an epoch is smaller (301 rows), and its parts are not of equal size.
    torch.testing.assert_close(
        whole.state["decoder.0.weight"], parts.state["decoder.0.weight"], atol=0.02, rtol=0.02
    )


def test_bfloat16_trains_to_nearly_the_same_loss(tmp_path: Path) -> None:
    full, half = (train(tmp_path, name, precision=name) for name in ("float32", "bfloat16"))
    assert half.state is not None
    assert all(tensor.dtype is torch.float32 for tensor in half.state.values())
    assert half.progress.best_loss == pytest.approx(full.progress.best_loss, rel=0.1)
    assert half.progress.best_loss != full.progress.best_loss


def test_float16_on_a_cpu_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"float16 needs a GPU; use bfloat16"):
        train(tmp_path, "float16", precision="float16", device="cpu")


def test_an_automatic_batch_size_leaves_enough_steps_in_an_epoch(tmp_path: Path) -> None:
    result = train(tmp_path, "auto", epochs=1, global_batch_size="auto")
    assert result.progress.global_batch_size == 32
