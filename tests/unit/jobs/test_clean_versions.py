"""Noisy versions of one clean row never straddle the split, and the gate goes by the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from isthmus.jobs.ensembles import folds_of
from isthmus.jobs.preparation import Prepared, prepare
from isthmus.jobs.specs import check_job
from isthmus.promotion.heldout import find_held_out
from isthmus.promotion.seen import job_of
from isthmus.registry import load
from isthmus.spec import Settings
from tests.challengers import register

RNG = np.random.default_rng(0)


def versions(clean: np.ndarray, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Some noisy versions of each clean row, and the clean row as often."""
    often = np.repeat(clean, each, axis=0)
    return (often + RNG.normal(0, 3, often.shape)).clip(0, 255).astype(clean.dtype), often


def tables(rows: int = 60) -> dict[str, object]:
    for name, values in zip(
        ("noisy", "clean"), versions(RNG.uniform(0, 255, (rows, 4)), 6), strict=True
    ):
        pd.DataFrame(values, columns=list("abcd")).to_csv(f"{name}.csv", index=False)
    return {"path": "noisy.csv", "clean_path": "clean.csv"}


def pictures() -> dict[str, object]:
    clean = RNG.integers(0, 256, (60, 8, 8)).astype(np.uint8)
    for name, values in zip(("noisy", "clean"), versions(clean, 6), strict=True):
        np.save(f"{name}.npy", values)
    return {"path": "noisy.npy", "clean_path": "clean.npy", "kind": "images"}


def sounds() -> dict[str, object]:
    clean = RNG.uniform(-0.5, 0.5, (12, 64))
    for name in ("noisy", "clean"):
        Path(name).mkdir()
    for sound in range(72):
        samples = clean[sound // 6]
        noise = RNG.normal(0, 0.05, 64)
        soundfile.write(f"clean/{sound}.wav", samples, 8000, subtype="FLOAT")
        soundfile.write(f"noisy/{sound}.wav", samples + noise, 8000, subtype="FLOAT")
    return {"path": "noisy", "clean_path": "clean", "window": 16, "stride": 16}


def prepared_of(data: dict[str, object], **job: object) -> Prepared:
    job = {"name": "m", "data": data, "variant": "denoising", **job}
    return prepare(check_job(job))


def clean_rows(prepared: Prepared) -> list[set[bytes]]:
    """The clean rows of the training, validation and test rows, in data units."""
    assert isinstance(prepared.scaled.train, np.ndarray)
    assert isinstance(prepared.scaled.validation, np.ndarray)
    assert prepared.clean_test is not None
    offset, scale = prepared.scaled.offset, prepared.scaled.scale
    test = ((prepared.clean_test - offset) / scale).astype(np.float32)
    parts = prepared.scaled.train[:, 1], prepared.scaled.validation[:, 1], test
    return [{np.round(row, 4).tobytes() for row in part} for part in parts]


@pytest.mark.parametrize("make", [tables, pictures, sounds])
def test_all_noisy_versions_of_one_clean_row_are_in_one_part(here: Path, make) -> None:
    parts = clean_rows(prepared_of(make()))
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts))


def test_a_member_that_calibrates_a_row_has_not_learned_from_its_clean_version(here) -> None:
    prepared = prepared_of(tables())
    folds = folds_of(prepared)
    assert folds is not None
    for member in range(1, 6):
        trained, left_out = (
            {row.tobytes() for row in prepared.scaled.train[rows, 1]}
            for rows in (folds.trained_on(member), folds.left_out_of(member))
        )
        assert left_out
        assert not trained & left_out


def test_the_gate_judges_rows_whose_clean_versions_neither_pair_was_trained_on(here: Path) -> None:
    settings = Settings.from_environment({}, here)
    plain = {"labels": None, "keep_labels": None, "exclude": [], "test_fraction": 0.4}
    data = {**tables(rows=300), **plain}
    for seed in (0, 1):
        job = {"variant": "denoising", "training": {"seed": seed}}
        register("m", Path("noisy.csv"), settings, 1, data=data, **job)
    # A pair that takes the clean rows alone has seen some of the clean versions too.
    plain["path"] = "clean.csv"
    register("m", Path("clean.csv"), settings, 1, data=plain, training={"seed": 2})
    new = load("m/2", settings)
    for number in (1, 3):
        old = load(f"m/{number}", settings)
        met = find_held_out(new, old, settings, lambda step: None)
        assert met.clean is not None
        assert len(met.rows) >= 10
        assert len({row.tobytes() for row in met.clean}) < len(met.clean)
        shown = {np.round(row, 2).tobytes() for row in met.clean}
        for pair in (new, old):
            again = prepare(job_of(pair))
            train = again.scaled.train
            if pair.manifest.data.clean_path is not None:
                train = train[:, 1]
            trained = train * again.scaled.scale + again.scaled.offset
            assert not shown & {np.round(row, 2).tobytes() for row in trained.astype(np.float32)}
