"""A training is not started from a pair whose rows were measured in other units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import isthmus
from isthmus.data.units import unlike_units
from isthmus.errors import SpecError
from isthmus.jobs.starting import _from_the_difference
from isthmus.spec import RowSchema, Settings
from isthmus.types import DataKind

DIGITS = load_digits().images[:300] / 16
PIXELS = {
    "bytes": np.round(DIGITS * 255).astype(np.uint8),
    "words": np.round(DIGITS * 65535).astype(np.uint16),
    "floats": DIGITS.astype(np.float32),
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("units")
    found = Settings.from_environment({}, folder)
    for name, pixels in PIXELS.items():
        np.save(folder / f"{name}.npy", pixels)
    for name in ("bytes", "floats"):
        train(found, folder, name, name)
    return found


def train(settings: Settings, folder: Path, name: str, of: str, **training: object) -> None:
    options = {"epochs": 1, "device": "cpu", **training}
    job = {"name": name, "data": str(folder / f"{of}.npy"), "net": "dense", "training": options}
    isthmus.train(job, settings=settings)


@pytest.mark.parametrize(
    ("pair", "of", "message"),
    [
        ("bytes", "words", "has white 255, and this job 65535"),
        ("bytes", "floats", "has white 255, and this job none"),
        ("floats", "bytes", "has no pixel above 1, and this job 255"),
    ],
)
def test_images_of_another_white_are_refused_in_one_line(
    settings: Settings, pair: str, of: str, message: str
) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        train(settings, settings.home.parent, pair, of, start_from=f"{pair}/1")
    assert str(caught.value).startswith(f"training.start_from: {pair}/1 has ")
    assert "\n" not in str(caught.value)


def test_images_of_the_same_white_are_taken(settings: Settings) -> None:
    for name in ("bytes", "floats"):
        train(settings, settings.home.parent, name, name, start_from=f"{name}/1")
        assert isthmus.load(f"{name}/2", settings=settings).manifest.started_from


def test_sounds_and_series_of_another_pace_are_others() -> None:
    def found(**ours_and_theirs: tuple[float | None, float | None]) -> list[str]:
        ((name, both),) = ours_and_theirs.items()
        schemas = (
            RowSchema(kind=DataKind.SERIES, shape=(1, 8)).model_copy(update={name: value})
            for value in both
        )
        return [what for what, _, _ in unlike_units(*schemas)]

    assert found(sample_rate_hz=(8000, 16000)) == ["data.sample_rate_hz"]
    assert found(sample_rate_hz=(8000, None)) == []  # an old pair does not know it
    assert found(time_step_s=(60.0, 1.0)) == ["seconds between steps"]
    assert found(time_step_s=(1.001, 1.0)) == []
    assert found(time_step_s=(None, 1.0)) == []


def test_long_lists_are_shown_from_where_they_differ() -> None:
    names = tuple(f"measurement {number}" for number in range(20))
    here, there = _from_the_difference((*names, "new"), names)
    assert (here, there) == (("...", names[-1], "new"), ("...", names[-1]))
    changed = (*names[:15], "other", *names[16:])
    here, there = _from_the_difference(changed, names)
    assert here[:3] == ("...", names[14], "other")
    assert there[:3] == ("...", names[14], names[15])
    assert _from_the_difference(("a", "b"), ("b", "a")) == (("a", "b"), ("b", "a"))
