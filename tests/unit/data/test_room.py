"""Rows that do not fit into the memory are refused before they are read, or stored in files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from isthmus import resources
from isthmus.data import StoredRows
from isthmus.data.prepared import storing
from isthmus.errors import DataError
from isthmus.jobs.preparation import prepare
from isthmus.jobs.specs import check_job

MIB = 1 << 20
Limit = Callable[[int], None]


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Limit:
    """Puts this process into a control group in which so many bytes are free."""

    def set_limit(free_bytes: int) -> None:
        monkeypatch.setattr(resources, "_memory", lambda: iter([(free_bytes, 0)]))

    return set_limit


def prepared(variant: str = "plain", **data: Any) -> Any:
    training = {"epochs": 1, "global_batch_size": 64}
    content = {"name": "x", "data": data, "variant": variant, "latent_dim": 2, "training": training}
    return prepare(check_job({**content, "net": {"name": "dense", "hidden": [8]}}))


def write_two_arrays() -> dict[str, Any]:
    first = np.random.default_rng(0).random((10_000, 16), dtype=np.float32)
    np.save("b.npy", first + 1)
    first[0, 0] = np.inf  # It is refused when it is read.
    np.save("a.npy", first)
    return {"variant": "noise2noise", "path": "a.npy", "paired_path": "b.npy", "kind": "tabular"}


def write_two_texts() -> dict[str, Any]:
    first = np.random.default_rng(0).random((10_000, 16))
    for name, values in (("a.csv", first), ("b.csv", first + 1)):
        np.savetxt(name, values, delimiter=",", header=",".join("abcdefghijklmnop"), comments="")
    return {"variant": "noise2noise", "path": "a.csv", "paired_path": "b.csv"}


def write_series() -> dict[str, Any]:
    np.save("a.npy", np.random.default_rng(0).random((10_063, 1), dtype=np.float32))
    return {"path": "a.npy", "kind": "series", "window": 64, "stride": 1}


def write_sounds() -> dict[str, Any]:
    Path("a").mkdir()
    for number in range(5):
        samples = np.random.default_rng(number).uniform(-0.5, 0.5, 2063)
        soundfile.write(f"a/{number}.wav", samples, 8000)
    return {"path": "a", "window": 64, "stride": 1}


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_two_arrays, r"10,000 rows of shape \(16,\) take 2 MiB of memory or more, and 1 MiB "
         "are free; give fewer rows, or more memory"),
        (write_two_texts, r"10,000 rows of shape \(16,\) take 2 MiB of memory or more, and"),
        (write_series, r"10,000 rows of shape \(1, 64\) take 5 MiB of memory or more, and 1 MiB "
         "are free; raise data.stride, give fewer rows, or more memory"),
        (write_sounds, r"10,000 rows of shape \(1, 64\) take 5 MiB of memory or more, and"),
    ],
    ids=["paired arrays", "paired texts", "series", "sounds"],
)  # fmt: skip
def test_rows_that_do_not_fit_the_memory_are_refused_with_their_size(
    in_tmp: Path, limit: Limit, write: Callable[[], dict[str, Any]], message: str
) -> None:
    data = write()
    limit(MIB)
    with pytest.raises(DataError, match=f"^a[^:]*: {message}"):
        prepared(**data)


def test_a_series_that_does_not_fit_the_memory_is_refused_before_it_is_cut(
    in_tmp: Path, limit: Limit
) -> None:
    np.save("a.npy", np.random.default_rng(0).random((100_000, 4), dtype=np.float32))
    limit(MIB)
    with pytest.raises(DataError, match=r"100,000 rows .* take 2 MiB of memory or more, and 1 MiB"):
        prepared(path="a.npy", kind="series", window=64)


def test_rows_of_which_labels_leave_few_are_not_refused_for_all_the_others(
    in_tmp: Path, limit: Limit
) -> None:
    values = np.random.default_rng(0).random((10_000, 16), dtype=np.float32)
    np.savez("a.npz", x=values, y=np.arange(10_000) % 10)
    limit(MIB)
    data = {"path": "a.npz", "key": "x", "labels": "y", "keep_labels": [3]}
    parts = prepared(**data)
    assert sum(parts.split_sizes.values()) == 1000


def test_a_small_disk_refuses_no_rows_of_which_few_are_kept(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(0).random((10_000, 16), dtype=np.float32)
    np.savez("a.npz", x=values, y=np.arange(10_000) % 10)
    monkeypatch.setattr(storing, "_MOST_BYTES_IN_MEMORY", 0)
    monkeypatch.setattr(storing.shutil, "disk_usage", lambda _: SimpleNamespace(free=300 << 10))
    parts = prepared(path="a.npz", key="x", labels="y", keep_labels=[3])
    assert isinstance(parts.scaled.train, StoredRows)
    with pytest.raises(DataError, match=r"10,000 rows needs 625 KiB, and .* has 300 KiB left"):
        prepared(path="a.npz", key="x")


@pytest.mark.parametrize("ending", ["npy", "csv"])
def test_the_free_memory_does_not_choose_which_rows_are_trained_on(
    in_tmp: Path, limit: Limit, ending: str
) -> None:
    values = np.random.default_rng(0).random((300, 64), dtype=np.float32)
    if ending == "npy":
        np.save("a.npy", values)
    else:
        np.savetxt("a.csv", values, delimiter=",", header=",".join(f"c{n}" for n in range(64)))
    data = {"path": f"a.{ending}", "kind": "tabular"}
    whole = prepared(**data)
    assert whole.is_crossed
    limit(200_000)  # The rows fit, and a part of them beside them.
    again = prepared(**data)
    assert again.is_crossed
    assert again.split_sizes == whole.split_sizes
    limit(100_000)
    with pytest.raises(DataError, match=r"300 rows of shape .* and 98 KiB are free"):
        prepared(**data)


def test_rows_that_fit_no_memory_are_kept_in_files_and_those_that_fit_are_not(
    in_tmp: Path, limit: Limit
) -> None:
    np.save("a.npy", np.random.default_rng(0).random((20_001, 16), dtype=np.float32))
    limit(MIB)
    stored = prepared(path="a.npy", kind="tabular")
    assert isinstance(stored.scaled.train, StoredRows)
    limit(100 * MIB)
    whole = prepared(path="a.npy", kind="tabular")
    assert isinstance(whole.scaled.train, np.ndarray)
    assert whole.split_sizes == stored.split_sizes
