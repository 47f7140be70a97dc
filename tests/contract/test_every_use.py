"""What every downstream job promises, in a table of its own or in rows: a new one is covered."""

from __future__ import annotations

import inspect
import json
import tempfile
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import isthmus as package
from isthmus import uses
from isthmus.cli.use import command_of
from isthmus.compression import header
from isthmus.compression.decompressing import decompress
from isthmus.data import read_provenance, rows
from isthmus.data.outputs.parts_folder import PartsFolder
from isthmus.errors import DataError, UsageError
from isthmus.execution.outputs import RowsOutput
from isthmus.execution.request import Request
from isthmus.execution.running import run
from isthmus.execution.use import UseResult
from isthmus.registry import register_pair
from isthmus.spec import Settings
from isthmus.uses.compress import Compress
from tests import untrained
from tests.servers.stack import S3Server

settings = untrained.settings
every_use = pytest.mark.parametrize("name", uses.names())

COLUMNS = list("abcdef")
TABLE = pd.DataFrame(
    np.random.default_rng(0).normal(size=(1000, 6)).astype("float32"), columns=COLUMNS
)


@pytest.fixture(scope="module")
def model(settings: Settings) -> str:
    data = {"path": "rows.csv", "columns": COLUMNS}
    pair = untrained.untrained_pair("in-use", settings, data=data, variant="fsq")
    return f"in-use/{register_pair(pair, settings).version}"


@pytest.fixture
def registry(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the registry the one that commands and `isthmus.load` find."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    monkeypatch.setenv("ISTHMUS_HOME", str(settings.home))


@pytest.fixture
def source(here: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A table of several blocks."""
    monkeypatch.setattr(rows, "_NUMBERS_IN_A_BLOCK", 600)
    TABLE.to_parquet("rows.parquet", row_group_size=170)
    return "rows.parquet"


def save_folder(folder: str = "in", files: int = 4) -> None:
    Path(folder).mkdir()
    for number in range(files):
        TABLE.iloc[number * 50 : number * 50 + 50].to_parquet(f"{folder}/{number}.parquet")


def is_compressed(name: str) -> bool:
    """Returns whether a job writes compressed files, which are read as what they are of."""
    return issubclass(uses.get(name), Compress)


def output_named(name: str, stem: str = "out") -> str:
    return f"{stem}.isth" if is_compressed(name) else f"{stem}.parquet"


def output_of_a_folder(name: str) -> str:
    """Returns the name of what a job makes of a folder: a folder, or one file."""
    is_folder = not is_compressed(name) and isinstance(uses.get(name).OUTPUT, RowsOutput)
    return "out" if is_folder else output_named(name)


def part_named(name: str, number: int) -> str:
    return f"{number}.parquet{'.isth' * is_compressed(name)}"


def read(path: str | Path, settings: Settings) -> pd.DataFrame:
    """Returns the rows of a table, or of the tables of a folder in their order."""
    if Path(path).suffix == ".isth":
        return decompressed(path, settings)
    compressed = sorted(Path(path).glob("*.isth")) if Path(path).is_dir() else []
    if compressed:
        return pd.concat([decompressed(each, settings) for each in compressed], ignore_index=True)
    found = sorted(Path(path).glob("*.parquet")) if Path(path).is_dir() else [Path(path)]
    return pd.concat([pd.read_parquet(each) for each in found], ignore_index=True)


def decompressed(path: str | Path, settings: Settings) -> pd.DataFrame:
    """Returns the rows of a compressed file: of one table, or of the tables of a folder."""
    with tempfile.TemporaryDirectory() as folder:
        is_folder = header.inspect(str(path)).header.form.form == "folder"
        again = Path(folder, "again" if is_folder else "again.parquet")
        try:
            decompress(str(path), again, settings)
        except DataError as error:
            assert "holds no row" in str(error)  # noqa: PT017 (a part of a table without rows)
            return TABLE.iloc[:0]
        return read(again, settings)


def names_in(folder: str | Path) -> list[str]:
    found = (path for path in Path(folder).rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def done(
    name: str, model: str, settings: Settings, source: str, output: str, **more: Any
) -> UseResult:
    progress = {each: more.pop(each) for each in ("on_rows", "on_parts") if each in more}
    return run(uses.get(name)(), model, source, output, settings, Request(**more), **progress)


@every_use
def test_the_output_has_a_line_for_each_row_and_names_the_pair(name, model, settings, source):
    told: list[tuple[int, int | None]] = []
    output = output_named(name)
    result = done(*(name, model, settings, source, output), on_rows=lambda *each: told.append(each))
    assert len(read(output, settings)) == result.rows == 1000
    assert told[-1] == (1000, 1000)
    assert result.model == model
    for said in (read_provenance(Path(output)), json.loads(_note(output))):
        as_json = said if isinstance(said, dict) else vars(said)
        assert as_json["pair_id"] == result.pair_id
        assert (as_json["extra"]["job"], as_json["extra"]["input"]) == (name, source)
    assert names_in(".") == [output, f"{output}.pair.json", source]


def _note(output: str) -> str:
    return Path(f"{output}.pair.json").read_text()


@every_use
def test_a_fault_in_a_late_row_leaves_the_earlier_output_as_it_was(name, model, settings, source):
    done(name, model, settings, source, output_named(name))
    broken = TABLE.copy()
    broken.loc[900, "c"] = np.nan
    broken.to_parquet(source, row_group_size=170)
    before = {path: Path(path).read_bytes() for path in names_in(".")}
    with pytest.raises(DataError, match=r'"c" has missing values, first in row 900'):
        done(name, model, settings, source, output_named(name), strict=True, force=True)
    assert {path: Path(path).read_bytes() for path in names_in(".")} == before


@every_use
def test_ctrl_c_leaves_nothing_half_written(name, model, settings, source):
    def interrupt(rows_done: int, total: int | None) -> None:
        if rows_done >= 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        done(name, model, settings, source, output_named(name), on_rows=interrupt)
    assert names_in(".") == [source]


@every_use
@pytest.mark.parametrize("output", ["rows.parquet", "./sub/../rows.parquet"])
def test_the_input_is_never_replaced(name, model, settings, source, output):
    Path("sub").mkdir()
    before = Path(source).read_bytes()
    # The name of a compressed file is never that of a table.
    said = "can be written as .isth" if is_compressed(name) else "is the input"
    with pytest.raises(DataError, match=said):
        done(name, model, settings, source, output, force=True)
    assert Path(source).read_bytes() == before


@every_use
def test_the_method_of_a_loaded_pair_does_what_the_command_does(
    name, model, settings, registry, source, isthmus
):
    command = (name.replace("_", "-"), "--model", model, source)
    of_command, of_method = output_named(name, "of-command"), output_named(name, "of-method")
    told = isthmus(*command, of_command)
    assert told.code == 0, told.err
    assert told.out.startswith("1,000 rows ") or " in 1,000 rows " in told.out
    assert told.out.splitlines()[0].endswith(f": {of_command}")
    result = getattr(package.load(model), name)(source, of_method)
    assert (result.rows, result.model) == (1000, model)
    pd.testing.assert_frame_equal(read(of_command, settings), read(of_method, settings))
    again = isthmus(*command, of_command)
    assert (again.code, len(again.err.splitlines())) == (2, 1)
    assert f"{of_command} exists already; choose another output, or add --force" in again.err
    with pytest.raises(UsageError, match=f"{of_method} exists already"):
        getattr(package.load(model), name)(source, of_method)
    figures = json.loads(isthmus(*command, of_command, "--force", "--json").out)
    assert (figures["rows"], figures["pair_id"]) == (1000, result.pair_id)
    with pytest.raises(UsageError, match='no option "levle"'):
        getattr(package.load(model), name)(source, "other.parquet", levle=1)


@every_use
@pytest.mark.parametrize(
    ("wrong", "code", "said"),
    [
        ("gone.parquet", 3, "gone.parquet: no such file or folder"),
        ("empty.csv", 3, "empty.csv: the file is empty (0 bytes)"),
        ("picture.png", 3, "picture.png: "),
        ("other.csv", 3, "other.csv: "),
    ],
)
def test_a_wrong_input_is_told_in_one_line(name, model, registry, here, isthmus, wrong, code, said):
    Path("empty.csv").touch()
    Path("picture.png").write_bytes(b"\x89PNG, and nothing after it")
    TABLE.rename(columns={"a": "z"}).to_csv("other.csv", index=False)
    before = names_in(".")
    output = f"out-{uses.get(name).OUTPUT.part_name(wrong, None)}"
    found = isthmus(name.replace("_", "-"), "--model", model, wrong, output)
    assert (found.code, found.out, len(found.err.splitlines())) == (code, "", 1), found.err
    assert found.err.startswith(said)
    assert names_in(".") == before


@every_use
def test_its_help_has_an_example_and_the_options_that_all_share(name, here, isthmus):
    helped = " ".join(isthmus(name.replace("_", "-"), "--help").out.split())
    assert f"Example: isthmus {name.replace('_', '-')} --model" in helped
    for option in Request.model_fields:
        assert f"--{option}" in helped


# -- S3 -------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(s3: S3Server) -> str:
    name = f"uses-{uuid.uuid4().hex[:12]}"
    s3.client().create_bucket(Bucket=name)
    return name


def keys_in(s3: S3Server, bucket: str, prefix: str = "") -> list[str]:
    """Returns the keys of all objects but the empty ones that pyarrow leaves for folders."""
    found = s3.client().list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
    return sorted(each["Key"] for each in found if not each["Key"].endswith("/"))


def downloaded(s3: S3Server, bucket: str, prefix: str, folder: str) -> Path:
    for key in keys_in(s3, bucket, prefix):
        target = Path(folder, key)
        target.parent.mkdir(parents=True, exist_ok=True)
        s3.client().download_file(bucket, key, str(target))
    return Path(folder, prefix)


@every_use
@pytest.mark.slow
def test_what_is_in_s3_is_read_and_what_comes_out_is_whole_there(
    name, model, settings, here, s3, bucket, registry, isthmus
):
    save_folder()
    for path in Path("in").iterdir():
        s3.client().upload_file(str(path), bucket, f"in/{path.name}")
    local, place = output_of_a_folder(name), f"s3://{bucket}/made/{output_of_a_folder(name)}"
    done(name, model, settings, "in", local)
    result = done(name, model, settings, f"s3://{bucket}/in/", place)
    assert (result.output, result.rows) == (place, 200)
    found = downloaded(s3, bucket, f"made/{local}", "from-s3")
    pd.testing.assert_frame_equal(read(found, settings), read(local, settings))
    said = read_provenance(found)
    assert said is not None
    assert (said.pair_id, said.extra["input"]) == (result.pair_id, f"s3://{bucket}/in/")
    traced = isthmus("lineage", place)
    assert f"{place}: {name} of s3://{bucket}/in/, 200 rows" in " ".join(traced.out.split())
    with pytest.raises(UsageError, match=f"{place} exists already; choose another output"):
        done(name, model, settings, "in", place)
    Path("in/3.parquet").unlink()
    assert done(name, model, settings, "in", place, force=True).rows == 150
    assert not [key for key in keys_in(s3, bucket, "made/") if "3.parquet" in key]


@every_use
@pytest.mark.slow
def test_a_fault_leaves_nothing_in_s3_and_the_message_names_the_address(
    name, model, settings, here, s3, bucket
):
    save_folder()
    TABLE.rename(columns={"a": "z"}).to_parquet("in/3.parquet")
    with pytest.raises(DataError):
        done(name, model, settings, "in", f"s3://{bucket}/made", strict=True)
    TABLE.to_parquet("rows.parquet")
    with pytest.raises(DataError) as refused:
        done(name, model, settings, "rows.parquet", f"s3://{bucket}/made/out.txt")
    assert str(refused.value).startswith(f"s3://{bucket}/made/out.txt: ")
    with pytest.raises(DataError, match='there is no bucket "no-such-bucket-here"'):
        done(
            name, model, settings, "rows.parquet", f"s3://no-such-bucket-here/{output_named(name)}"
        )
    place = f"s3://{bucket}/rows.parquet"
    said = "can be written as .isth" if is_compressed(name) else "is the input"
    with pytest.raises(DataError, match=said):
        done(name, model, settings, place, place, force=True)
    assert keys_in(s3, bucket) == []


@every_use
@pytest.mark.slow
def test_an_interrupted_upload_leaves_nothing_in_s3(
    name, model, settings, here, s3, bucket, monkeypatch
):
    save_folder()
    put, uploaded = PartsFolder.put, []

    def interrupted(folder: PartsFolder, staged: Path, key: str) -> None:
        if uploaded:
            raise KeyboardInterrupt
        put(folder, staged, key)
        uploaded.append(key)

    monkeypatch.setattr(PartsFolder, "put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        done(name, model, settings, "in", f"s3://{bucket}/made/{output_of_a_folder(name)}")
    assert len(uploaded) == 1
    assert keys_in(s3, bucket) == []
    s3.client().put_object(Bucket=bucket, Key="mine/notes.txt", Body=b"mine")
    with pytest.raises(DataError, match="holds other files, which are not touched"):
        done(name, model, settings, "in", f"s3://{bucket}/mine", force=True)
    assert keys_in(s3, bucket) == ["mine/notes.txt"]


# -- parts on a cluster ---------------------------------------------------------------------------


@every_use
@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.usefixtures("ray_session")
def test_the_parts_of_a_cluster_are_those_of_the_local_job_and_are_kept(
    name, model, settings, here
):
    save_folder()
    done(name, model, settings, "in", f"local-{output_of_a_folder(name)}")
    told: list[tuple[int, int, int]] = []

    def interrupt(*each: int) -> None:
        told.append((each[0], each[1], each[2]))
        if each[0] >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        done(name, model, settings, "in", "out", address="auto", on_parts=interrupt)
    assert not Path("out/summary.json").exists()
    result = done(name, model, settings, "in", "out", address="auto")
    assert (result.parts, result.rows) == (4, 200)
    assert result.kept >= 2
    pd.testing.assert_frame_equal(
        read("out", settings), read(f"local-{output_of_a_folder(name)}", settings)
    )
    summary = json.loads(Path("out/summary.json").read_text())
    assert (summary["pair_id"], summary["job"], summary["parts"]) == (result.pair_id, name, 4)
    for part in range(4):
        said = read_provenance(Path(f"out/{part_named(name, part)}"))
        assert said is not None
        assert said.pair_id == result.pair_id
    with pytest.raises(UsageError, match="is complete; choose another output, or add --force"):
        done(name, model, settings, "in", "out", address="auto")


@every_use
@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.usefixtures("ray_session")
def test_a_file_without_rows_has_a_part_without_rows(name, model, settings, here):
    save_folder(files=2)
    TABLE.iloc[:0].to_parquet("in/2.parquet")
    result = done(name, model, settings, "in", "out", address="auto")
    assert result.rows == 100
    whole, empty = (read(f"out/{part_named(name, part)}", settings) for part in (0, 2))
    assert len(empty) == 0
    assert list(empty) == list(whole)


@every_use
def test_the_command_offers_a_report_where_the_job_says_that_there_is_one(name: str) -> None:
    options = inspect.signature(command_of(name)).parameters
    assert ("report" in options) == uses.get(name).HAS_REPORT
    assert uses.get("detect").HAS_REPORT
