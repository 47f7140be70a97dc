"""A group of steps learns what Lightning's own loop learns, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from isthmus import variants
from isthmus.progress.result import FitResult
from isthmus.training import step_groups as step_groups_module
from tests.unit.training import fitting
from tests.unit.training.fitting import fitted, job_of

# Any flag of the Trainer's makes training take single steps.
SINGLE = {"trainer": {"enable_model_summary": False}}


def assert_same(folder: Path, variant: str, **options: Any) -> None:
    options = {"epochs": 3, **options}
    groups = fitted(folder / "groups", *job_of(variant), **options)
    single = fitted(folder / "single", *job_of(variant), **options, **SINGLE)
    assert_same_results(groups, single)


def assert_same_results(found: FitResult, expected: FitResult) -> None:
    assert found.state is not None
    assert expected.state is not None
    torch.testing.assert_close(found.state, expected.state, equal_nan=True)
    for one, other in zip(found.progress.history, expected.progress.history, strict=True):
        assert one.train == pytest.approx(other.train, rel=1e-4, abs=1e-6)
        assert one.validation == pytest.approx(other.validation, rel=1e-4, abs=1e-6)
        assert one.learning_rate == other.learning_rate
    assert found.progress.history[0].train != found.progress.history[-1].train


@pytest.mark.parametrize("variant", variants.names())
def test_the_losses_and_weights_of_each_variant_are_those_of_single_steps(
    variant: str, tmp_path: Path
) -> None:
    assert_same(tmp_path, variant)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"schedule": "cosine", "warm_up_epochs": 1.0}, id="schedule"),
        pytest.param({"gradient_clip_norm": 0.1}, id="clipping"),
        pytest.param({"weight_decay": 0.1}, id="decay"),
        pytest.param({"weight_average_decay": 0.9}, id="average"),
        pytest.param({"precision": "bfloat16"}, id="bfloat16"),
    ],
)
@pytest.mark.parametrize("variant", ["vae", "aae"])
def test_the_options_of_training_do_the_same_to_groups_and_to_single_steps(
    variant: str, options: dict[str, object], tmp_path: Path
) -> None:
    assert_same(tmp_path, variant, **options)


# USAD's losses look at a part as a whole, and so are not the mean of those of its parts.
@pytest.mark.parametrize(("variant", "rel"), [("plain", 1e-4), ("usad", 1e-2)])
@pytest.mark.parametrize("more", [{}, SINGLE], ids=["groups", "single"])
@pytest.mark.parametrize(
    ("rows", "parts"),
    [(1000, 4), (965, 8), (990, 8)],
    ids=["equal-parts", "last-step-of-five-rows", "unequal-parts"],
)
def test_a_step_in_parts_has_the_gradients_of_the_whole_step(
    variant: str,
    rel: float,
    more: dict[str, Any],
    rows: int,
    parts: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fitting, "ROWS", rows)
    options = {"learning_rate": 1e-2, **more}
    whole, split = (
        fitted(tmp_path / str(number), *job_of(variant), accumulate_batches=number, **options)
        for number in (1, parts)
    )
    for one, other in zip(whole.progress.history, split.progress.history, strict=True):
        assert one.train["loss"] == pytest.approx(other.train["loss"], rel=rel)
        assert one.validation["loss"] == pytest.approx(other.validation["loss"], rel=rel)


def test_a_group_takes_a_fraction_of_a_second_however_long_a_step_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    keep_pace = step_groups_module.GroupedBatches._keep_pace

    def noted(self: Any, count: int, seconds: float) -> None:
        taken.append(count)
        keep_pace(self, count, 0.05 * count)  # as if each step took 50 ms

    monkeypatch.setattr(step_groups_module.GroupedBatches, "_keep_pace", noted)
    fitted(tmp_path, *job_of("plain"), epochs=4)
    assert sum(taken) == 4 * 16
    assert max(taken) == 4  # 0.2 s
