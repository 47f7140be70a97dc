"""A training that starts from a pair registers no weights that are worse than the pair's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback
from sklearn.datasets import load_digits

import isthmus
from isthmus.jobs.starting import weights_of
from isthmus.jobs.train import TrainResult
from isthmus.registry import load
from isthmus.spec import Settings
from isthmus.tracking import open_store
from tests.stopping import StopsAfterTwoEpochs

DIGITS = load_digits().images.astype(np.float32)
# So large that every epoch is worse than trained weights, and none diverges.
TOO_LARGE = 0.2


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.from_environment({}, tmp_path_factory.mktemp("point"))


@pytest.fixture(scope="module", autouse=True)
def base(settings: Settings) -> TrainResult:
    return train(settings, epochs=12)


def job(variant: str = "plain", **training: object) -> dict[str, object]:
    return {
        "name": variant,
        "variant": variant,
        "net": {"name": "dense", "hidden": [64]},
        "latent_dim": 8,
        "training": {"early_stopping": None, "device": "cpu", **training},
    }


def train(
    settings: Settings,
    variant: str = "plain",
    reporter: object = None,
    callbacks: tuple[Callback, ...] = (),
    **training: object,
) -> TrainResult:
    content = job(variant, **training)
    return isthmus.train(
        content, data=DIGITS, settings=settings, reporter=reporter, callbacks=callbacks
    )


def has_the_weights_of_the_start(result: TrainResult, settings: Settings) -> bool:
    start, found = (
        weights_of(load(each, settings).module) for each in ("plain/1", str(result.pair))
    )
    return all(torch.equal(start[name], found[name]) for name in start)


@pytest.mark.parametrize(
    ("training", "callbacks"),
    [({}, ()), ({}, (Callback(),)), ({"weight_average_decay": 0.5}, ())],
    ids=["in groups of steps", "in Lightning's own steps", "with averaged weights"],
)
def test_where_every_epoch_is_worse_the_weights_of_the_start_are_registered_and_one_line_says_so(
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    training: dict[str, object],
    callbacks: tuple[Callback, ...],
) -> None:
    options = {"start_from": "plain/1", "epochs": 2, "learning_rate": TOO_LARGE, **training}
    worse = train(settings, callbacks=callbacks, **options)
    assert worse.metrics["best_epoch"] == 0
    assert has_the_weights_of_the_start(worse, settings)
    (said,) = [each for each in caplog.messages if "none of 2 epochs was better" in each]
    assert "none of 2 epochs was better than the start, plain/1" in said
    assert f"{worse.pair} has its weights" in said
    assert "\n" not in said
    points = open_store(settings).get_metric_history(worse.run_id, "validation/loss")
    losses = {point.step: point.value for point in points}
    assert sorted(losses) == [0, 1, 2]
    assert losses[0] == min(losses.values()) == worse.metrics["validation/loss"]
    # The rows and the split are those of the start, so its loss is the same.
    start = load("plain/1", settings).manifest.metrics
    assert losses[0] == pytest.approx(start["validation/loss"], rel=1e-5)


def test_a_run_that_is_resumed_or_finished_still_has_the_start(settings: Settings) -> None:
    # So many epochs that training cannot end before the request to stop reaches it.
    options = {"epochs": 5000, "learning_rate": TOO_LARGE, "start_from": "plain/1"}
    stopped = [train(settings, reporter=StopsAfterTwoEpochs(), **options) for _ in range(2)]
    assert [each.status for each in stopped] == ["interrupted"] * 2
    patience = ["training.early_stopping={patience: 1}"]
    resumed = isthmus.resume(stopped[0].run_id, settings=settings, overrides=patience)
    # Early stopping counts from the start, than which no epoch was better.
    assert resumed.epochs == stopped[0].epochs + 1
    finished = isthmus.finish(stopped[1].run_id, settings=settings)
    for each in (resumed, finished):
        assert each.metrics["best_epoch"] == 0
        assert has_the_weights_of_the_start(each, settings)


def test_an_epoch_that_is_better_than_the_start_is_the_best(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    better = train(settings, start_from="plain/1", epochs=2)
    assert better.metrics["best_epoch"] > 0
    assert "was better than the start" not in caplog.text
    assert not has_the_weights_of_the_start(better, settings)


def test_a_start_whose_loss_rests_on_an_untrained_discriminator_is_not_compared(
    settings: Settings,
) -> None:
    train(settings, "aae", epochs=1)
    warm = train(settings, "aae", epochs=1, start_from="aae/1", learning_rate=TOO_LARGE)
    assert warm.metrics["best_epoch"] == 1
