"""Files are compressed within a maximum error and come back with all that they hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from pydantic import ValidationError

from isthmus.compression.decompressing import DecompressResult, decompress
from isthmus.compression.header import inspect
from isthmus.compression.within_error.form import ExactForm
from isthmus.compression.within_error.pair_rows import PairRows
from isthmus.core import CodedAutoencoder
from isthmus.errors import DataError, UsageError
from isthmus.registry import Pair
from isthmus.spec import Settings
from isthmus.uses.compress import Compress, CompressResult
from tests import untrained
from tests.using import applied

settings = untrained.settings


def compressed(pair: Pair, source: str, max_error: str, **more: Any) -> CompressResult:
    use = Compress(max_error=max_error)
    use.check(pair)
    result = applied(use, pair, source, "out.isth", **more)
    assert isinstance(result, CompressResult)
    return result


def again(pair: Pair, output: str, settings: Settings, **more: Any) -> DecompressResult:
    return decompress("out.isth", output, settings, pair=pair, **more)


def plant(rows: int = 3000) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    flow = np.cumsum(rng.normal(size=rows))
    return pd.DataFrame(
        {
            "id": [f"run-{row}" for row in range(rows)],
            "flow": np.round(flow, 3),
            "time": pd.date_range("2026", periods=rows, freq="min").astype(str),
            "heat": np.where(rng.random(rows) < 0.05, np.nan, np.round(flow * 2 + 20, 2)),
            "label": rng.choice(["good", "bad"], rows),
        }
    )


@pytest.fixture
def pair(here: Path) -> Pair:
    plant().to_csv("plant.csv", index=False)
    return untrained.pair_of("plant.csv", variant="fsq", columns=["flow", "heat"], missing="mean")


def test_without_an_error_a_csv_comes_back_byte_for_byte(pair, settings):
    result = compressed(pair, "plant.csv", "0")
    assert result.size_bytes < 0.25 * Path("plant.csv").stat().st_size
    assert again(pair, "again.csv", settings).rows == 3000
    assert Path("again.csv").read_bytes() == Path("plant.csv").read_bytes()


def test_features_are_within_the_error_and_other_columns_exact(pair, settings):
    told: list[tuple[int, int | None]] = []
    result = compressed(pair, "plant.csv", "1%", on_rows=lambda *each: told.append(each))
    again(pair, "again.csv", settings)
    before, after = pd.read_csv("plant.csv"), pd.read_csv("again.csv")
    errors = {each.name: each.largest_error for each in result.columns}
    for name in ("flow", "heat"):
        error = (before[name] - after[name]).abs().max()
        assert 0 < error <= 0.01 * (before[name].max() - before[name].min())
        assert errors[name] == pytest.approx(error)
    assert before[["id", "time", "label"]].equals(after[["id", "time", "label"]])
    assert before["heat"].isna().equals(after["heat"].isna())
    assert told[-1] == (3000, 3000)
    assert any("the largest error is" in line for line in Compress().details(result))


def test_inspect_says_what_columns_were_predicted_from(pair, settings, isthmus):
    compressed(pair, "plant.csv", "flow=0.5")
    found = inspect("out.isth")
    assert (found.rows, found.files, found.damages) == (3000, 1, ())
    used = {each.name: each for each in found.columns}
    assert list(used["time"].predictors) == ["a line through 2 rows"]
    assert used["flow"].largest_error is not None
    assert used["flow"].largest_error <= 0.5
    shown = isthmus("inspect", "out.isth")
    assert shown.code == 0
    assert "predicted from a line through 2 rows" in shown.out


def test_a_folder_of_tables_comes_back_as_a_folder(pair, settings):
    Path("in/sub").mkdir(parents=True)
    plant(500).to_parquet("in/a.parquet")
    plant(700).drop(columns="label").to_csv("in/sub/b.csv", index=False)
    assert compressed(pair, "in", "0").rows == 1200
    assert inspect("out.isth").files == 2
    again(pair, "again", settings)
    pd.testing.assert_frame_equal(pd.read_parquet("again/a.parquet"), plant(500))
    assert Path("again/sub/b.csv").read_bytes() == Path("in/sub/b.csv").read_bytes()


def test_a_series_is_predicted_window_by_window(here, settings):
    rng = np.random.default_rng(1)
    steps = np.arange(2000)
    frame = pd.DataFrame({"a": np.sin(steps / 30) + rng.normal(0, 0.01, 2000), "b": steps % 50})
    frame.to_parquet("series.parquet")
    pair = untrained.pair_of("series.parquet", variant="fsq", window=64)
    compressed(pair, "series.parquet", "a=0.02")
    again(pair, "again.parquet", settings)
    found = pd.read_parquet("again.parquet")
    assert (found["a"] - frame["a"]).abs().max() <= 0.02
    assert found["b"].equals(frame["b"])


@pytest.mark.parametrize("max_error", ["0", "0.01"])
def test_sounds_keep_their_rate_and_subtype(here, settings, max_error):
    rng = np.random.default_rng(2)
    Path("in").mkdir()
    for name in ("a", "b"):
        tone = 0.3 * np.sin(np.arange(6000) / 7) + rng.normal(0, 0.02, 6000)
        soundfile.write(f"in/{name}.wav", tone, 8000, subtype="PCM_16")
    pair = untrained.pair_of("in", variant="fsq", window=256)
    result = compressed(pair, "in", max_error)
    again(pair, "again", settings)
    for name in ("a", "b"):
        before, after = (soundfile.read(f"{n}/{name}.wav")[0] for n in ("in", "again"))
        assert np.abs(before - after).max() <= float(max_error)
        assert soundfile.info(f"again/{name}.wav").subtype == "PCM_16"
    assert max(each.largest_error or 0 for each in result.columns) <= float(max_error)


def test_a_damaged_chunk_costs_its_rows_only(here, settings, monkeypatch):
    monkeypatch.setattr("isthmus.compression.bounded.MOST_ROWS", 500)
    plant(2000).to_parquet("plant.parquet")
    pair = untrained.pair_of(
        "plant.parquet", variant="fsq", columns=["flow", "heat"], missing="mean"
    )
    compressed(pair, "plant.parquet", "0")
    whole = Path("out.isth").read_bytes()
    chunks = [found.start() for found in re.finditer(b"ISCH", whole)]
    at = chunks[1] + 60
    Path("out.isth").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(DataError, match="the checksum of chunk 1 is wrong"):
        again(pair, "again.parquet", settings)
    result = again(pair, "again.parquet", settings, salvage=True)
    assert (result.rows, result.lost) == (2000, 500)
    before, after = plant(2000), pd.read_parquet("again.parquet")
    kept = [*range(500), *range(1000, 2000)]
    pd.testing.assert_frame_equal(after.iloc[kept], before.iloc[kept])
    assert after.iloc[500:1000].isna().all(axis=None)


@pytest.mark.parametrize("variant", ["fsq", "vqvae", "residual_vq"])
def test_the_decoder_predicts_what_the_encoder_did(here, variant):
    rows = np.random.default_rng(3).normal(size=(700, 6))
    np.save("rows.npy", rows)
    pair = untrained.pair_of("rows.npy", variant=variant)
    assert isinstance(pair.module, CodedAutoencoder)
    predictor = PairRows(pair, pair.module)
    latents, predicted = predictor.encode(rows)
    np.testing.assert_allclose(predicted, pair.reconstruct(rows), atol=1e-4)
    np.testing.assert_allclose(predictor.decode(latents, 700), predicted, rtol=0, atol=1e-13)
    rows[5] = [np.nan, np.inf, 1e300, -1e300, 0, 0]
    assert np.isfinite(predictor.encode(rows)[1]).all()


def test_errors_that_are_none_are_refused_with_one_line(pair):
    with pytest.raises(UsageError, match="is no error"):
        Compress(max_error="x")
    with pytest.raises(UsageError, match='no column "flo"; did you mean "flow"'):
        compressed(pair, "plant.csv", "flo=1")
    assert not Path("out.isth").exists()


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3), (3, 8, 8)])
def test_a_share_is_of_the_range_of_the_channel_of_an_image(here, settings, shape):
    rows = np.random.default_rng(4).random((40, *shape)).astype(np.float32)
    if shape[0] == 3:
        rows[:, 1] *= 100
    np.savez("images.npz", x=rows)
    pair = untrained.pair_of("images.npz", kind="images", variant="fsq")
    compressed(pair, "images.npz", "1%")
    again(pair, "again.npz", settings)
    with np.load("again.npz") as found:
        off = np.abs(found["x"].astype(np.float64) - rows)
    if shape[0] == 3:
        assert 0.1 < off[:, 1].max() <= 1
        off = off[:, [0, 2]]
    assert 0 < off.max() <= 0.01


ODD_CSVS = {
    "a cell of two lines": b'flow,heat,note\n1.5,2,"a\r\nb"\n2.5,3,c\n',
    "no last line end": b"flow,heat\n1.5,2\n2.5,3",
    "blank lines": b"flow,heat\n1.5,2\n\n2.5,3\n\n",
    "mixed line ends": b"flow,heat\r\n1.5,2\n2.5,3\r\n",
    "carriage returns": b"flow,heat\r1.5,2\r2.5,3\r",
    "a byte order mark": b"\xef\xbb\xbfflow,heat\n1.5,2\n2.5,3\n",
    "a bare quote": b'flow,heat,note\n1.5,2,a"b\n2.5,3,c\n',
    "needless quotes": b'"flow","heat"\n"1.5",""\n"2.5","3"\n',
}


@pytest.mark.parametrize("name", ODD_CSVS)
def test_without_an_error_every_byte_of_any_csv_comes_back(pair, settings, name):
    Path("odd.csv").write_bytes(ODD_CSVS[name])
    compressed(pair, "odd.csv", "0")
    again(pair, "again.csv", settings)
    assert Path("again.csv").read_bytes() == ODD_CSVS[name]


@pytest.mark.parametrize(
    "name", ["a cell of two lines", "no last line end", "carriage returns", "a byte order mark"]
)
def test_with_an_error_the_ends_of_lines_and_of_the_file_come_back(pair, settings, name):
    Path("odd.csv").write_bytes(ODD_CSVS[name])
    compressed(pair, "odd.csv", "0.001")
    again(pair, "again.csv", settings)
    assert Path("again.csv").read_bytes() == ODD_CSVS[name]


@pytest.mark.parametrize("name", ["label", "id", "time"])
def test_an_error_of_a_column_of_texts_is_refused_with_one_line(pair, name):
    with pytest.raises(DataError, match=f'the column "{name}" has cells that are no numbers'):
        compressed(pair, "plant.csv", f"flow=1,{name}=1")
    assert not Path("out.isth").exists()


def test_an_error_of_features_that_a_file_has_not_is_refused_with_one_line(pair):
    pd.DataFrame({"a": [1.5, 2.5], "b": [1, 2]}).to_csv("other.csv", index=False)
    with pytest.raises(UsageError, match="other columns than the pair's features"):
        compressed(pair, "other.csv", "1")
    compressed(pair, "other.csv", "a=1")
    compressed(pair, "other.csv", "0")


def test_a_form_has_a_name_for_each_file():
    form = {"is_folder": True, "names": ("a.csv", "b.csv"), "files": ({"form": "exact_lines"},)}
    with pytest.raises(ValidationError, match="2 names of 1 files"):
        ExactForm.model_validate({**form, "max_error": "0"})


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("a.csv", "a.csv"), "the name 'a.csv' is there twice"),
        (("a.csv", "sub/../a.csv"), "may lead out of the folder"),
        (("a", "a/b.csv"), "a folder in the name 'a/b.csv' is a file too"),
    ],
)
def test_the_files_of_a_folder_have_distinct_names(names, said):
    form = {"is_folder": True, "names": names, "files": ({"form": "exact_lines"},) * 2}
    with pytest.raises(ValidationError, match=said):
        ExactForm.model_validate({**form, "max_error": "0"})
