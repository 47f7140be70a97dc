"""What a trained pair cannot be relied on for is said by the command and on its card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

import isthmus as package
from isthmus.jobs.evaluation import not_reconstructed
from isthmus.spec import DataSpec, Settings
from isthmus.tracking import open_store
from isthmus.types import DataKind

RNG = np.random.default_rng(0)


def card(name: str) -> str:
    client = open_store(Settings.from_environment())
    return client.get_model_version(f"{name}-decoder", "1").description


def train(here: Path, isthmus, data: str, *settings: str) -> str:
    (here / "job.yaml").write_text(f"name: told\ndata: {data}\nlatent_dim: 1\n{' '.join(settings)}")
    done = isthmus(
        *("train", "job.yaml", "--set", "training.epochs=30"),
        *("--set", "training.learning_rate=0.01"),
        *("--set", "training.global_batch_size=128"),
    )
    assert done.code == 0, done
    return done.out


def related_and_noise(rows: int, noise: list[str]) -> pd.DataFrame:
    """Five columns that follow one number, and columns that follow nothing."""
    one = np.sin(np.arange(rows) / 9) + 0.3 * RNG.normal(size=rows)
    table = {f"r{number}": one * (number + 1) for number in range(5)}
    return pd.DataFrame({**table, **{name: RNG.normal(size=rows) for name in noise}})


def test_columns_that_are_not_reconstructed_are_named(here, isthmus):
    related_and_noise(1500, ["noise", "odd [red]\x1b[31m"]).to_csv("rows.csv", index=False)
    said = train(here, isthmus, "{path: rows.csv}")
    line = "not reconstructed (less than 5 % of the variance on held-out rows): "
    assert f"  {line}noise, odd [red]\\x1b[31m\n" in said
    assert "Not reconstructed" in card("told")
    assert "`noise`, `odd" in card("told")
    manifest = package.load("told/1").manifest
    assert manifest.not_reconstructed == ("noise", "odd [red]\x1b[31m")


def test_of_many_columns_eight_are_named_and_the_others_counted(here, isthmus):
    related_and_noise(800, [f"n{number}" for number in range(12)]).to_csv("rows.csv", index=False)
    said = train(here, isthmus, "{path: rows.csv}", "variant: plain")
    names = package.load("told/1").manifest.not_reconstructed
    assert len(names) > 8
    assert f"held-out rows): {', '.join(names[:8])} and {len(names) - 8} more\n" in said
    assert f"`{names[7]}` and {len(names) - 8} more" in card("told")


def test_channels_of_a_series_that_are_not_reconstructed_are_named(here, isthmus):
    related_and_noise(4000, ["noise"]).to_csv("steps.csv", index=False)
    said = train(here, isthmus, "{path: steps.csv, window: 4}", "net: dense")
    assert "on held-out rows): noise\n" in said


def test_what_is_reconstructed_is_not_named_nor_what_does_not_vary():
    explained = np.array([0.9, 0.04, np.nan, -3.0, 0.05])
    data = DataSpec(path="x.npy", kind=DataKind.TABULAR)
    assert not_reconstructed(explained, data) == ("feature 1", "feature 3")
    named = data.model_copy(update={"columns": tuple("abcde")})
    assert not_reconstructed(explained, named) == ("b", "d")


@pytest.mark.parametrize("files", [1, 60])
def test_a_threshold_that_rests_on_one_recording_is_said(here, isthmus, files):
    (here / "sound").mkdir()
    for number in range(files):
        samples = RNG.uniform(-0.5, 0.5, 12_000 // files)
        soundfile.write(here / "sound" / f"{number}.wav", samples, 8000)
    said = train(here, isthmus, "{path: sound, window: 64}")
    is_one = files == 1
    assert ("the threshold rests on the windows of one file" in said) is is_one
    assert ("windows of one file, so the threshold is that of one recording" in card("told")) is (
        is_one
    )
