"""Data in S3, on a real server: read, cached by etag, and refused in one line."""

from __future__ import annotations

import io
import socket
import time
import uuid
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from isthmus.errors import DataError
from isthmus.spec import DataSpec
from tests.reading import read_like, read_to_train
from tests.servers.stack import S3Server


@pytest.fixture
def client(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("ISTHMUS_HOME", str(tmp_path / "home"))
    return s3.client()


@pytest.fixture
def bucket(client: Any) -> str:
    name = f"data-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    return name


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.full((8, 8), value, dtype=np.uint8)
    pixels[0, 0] = 255 - value
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def cached_files(home: Path) -> dict[str, int]:
    """The modification times of the copies in the cache."""
    return {
        path.relative_to(home).as_posix(): path.stat().st_mtime_ns
        for path in (home / "cache" / "s3").glob("*/objects/**/*")
        if path.is_file()
    }


def test_a_table_in_s3_is_read_and_fetched_again_only_when_it_changes(
    client: Any, bucket: str, tmp_path: Path
) -> None:
    client.put_object(Bucket=bucket, Key="sets/t.csv", Body=b"a,b\n1,2\n3,4\n5,7\n")
    spec = DataSpec(path=f"s3://{bucket}/sets/t.csv")
    rows, resolved = read_to_train(spec)
    assert rows.values.tolist() == [[1, 2], [3, 4], [5, 7]]
    first = cached_files(tmp_path / "home")
    assert len(first) == 1
    assert read_like(resolved, spec.path, (2,)).values.shape == (3, 2)
    assert cached_files(tmp_path / "home") == first, "the same etag is not fetched again"
    client.put_object(Bucket=bucket, Key="sets/t.csv", Body=b"a,b\n1,2\n3,4\n5,7\n8,9\n")
    assert len(read_to_train(spec)[0]) == 4


def test_a_prefix_is_a_folder_that_follows_the_bucket(
    client: Any, bucket: str, tmp_path: Path
) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/3.png", "dog/4.png"):
        client.put_object(Bucket=bucket, Key=f"pets/{name}", Body=png(int(name[4])))
    client.put_object(Bucket=bucket, Key="pets-not/9.png", Body=png(9))
    for path in (f"s3://{bucket}/pets", f"s3://{bucket}/pets/"):
        rows, _ = read_to_train(DataSpec(path=path, labels="folder"))
        assert rows.labels is not None
        assert rows.labels.tolist() == ["cat", "cat", "dog", "dog"]
    before = cached_files(tmp_path / "home")
    client.delete_object(Bucket=bucket, Key="pets/cat/1.png")
    client.put_object(Bucket=bucket, Key="pets/dog/5.png", Body=png(5))
    rows, _ = read_to_train(DataSpec(path=f"s3://{bucket}/pets"))
    files = rows.index["file"].tolist()
    assert files == ["cat/2.png", "dog/3.png", "dog/4.png", "dog/5.png"]
    after = cached_files(tmp_path / "home")
    kept = [name for name in before if name in after]
    assert [before[name] for name in kept] == [after[name] for name in kept]
    whole, _ = read_to_train(DataSpec(path=f"s3://{bucket}"))
    assert len(whole) == 5


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_arrays_that_are_folders_are_read_alone_and_with_others(
    client: Any, bucket: str, tmp_path: Path, zarr_format: Literal[2, 3]
) -> None:
    zarr = pytest.importorskip("zarr")
    values = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)

    def upload(name: str, part: np.ndarray[Any, Any], *, is_group: bool) -> None:
        place = tmp_path / name
        if is_group:
            group = zarr.open_group(place, mode="w", zarr_format=zarr_format)
            group.create_array("x", data=part, chunks=(8, 3))
        else:
            zarr.create_array(place, data=part, chunks=(8, 3), zarr_format=zarr_format)
        for file in place.rglob("*"):
            if file.is_file():
                key = f"sets/{name}/{file.relative_to(place).as_posix()}"
                client.put_object(Bucket=bucket, Key=key, Body=file.read_bytes())

    upload("a.zarr", values[:25], is_group=True)
    upload("b.zarr", values[25:], is_group=False)
    alone, resolved = read_to_train(DataSpec(path=f"s3://{bucket}/sets/a.zarr"))
    assert np.array_equal(alone.values, values[:25])
    again = read_like(resolved, f"s3://{bucket}/sets/b.zarr/", (3,))
    assert np.array_equal(again.values, values[25:])
    both, _ = read_to_train(DataSpec(path=f"s3://{bucket}/sets"))
    assert np.array_equal(both.values, values)
    before = cached_files(tmp_path / "home")
    read_to_train(DataSpec(path=f"s3://{bucket}/sets"))
    assert cached_files(tmp_path / "home") == before, "what has not changed is not fetched again"


def test_an_interrupted_download_is_fetched_again(client: Any, bucket: str, tmp_path: Path) -> None:
    client.put_object(Bucket=bucket, Key="t.csv", Body=b"a\n1\n2\n3\n")
    spec = DataSpec(path=f"s3://{bucket}/t.csv")
    read_to_train(spec)
    (copy,) = (tmp_path / "home" / "cache" / "s3").glob("*/objects/t.csv")
    copy.unlink()
    assert len(read_to_train(spec)[0]) == 3


def test_what_is_absent_in_s3_is_named(client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="t.csv", Body=b"a\n1\n2\n3\n")
    with pytest.raises(DataError, match=f's3://{bucket}/u.csv: no object, .* bucket "{bucket}"$'):
        read_to_train(DataSpec(path=f"s3://{bucket}/u.csv"))
    with pytest.raises(DataError, match='there is no bucket "no-such-bucket"'):
        read_to_train(DataSpec(path="s3://no-such-bucket/t.csv"))
    with pytest.raises(DataError, match="names no bucket"):
        read_to_train(DataSpec(path="s3://"))


def test_faults_in_the_data_name_the_address_and_not_the_copy(client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="empty.csv", Body=b"")
    client.put_object(Bucket=bucket, Key="t.csv", Body=b"a,b\n1,x\n2,y\n3,z\n")
    with pytest.raises(DataError, match=f"^s3://{bucket}/empty.csv: the file is empty"):
        read_to_train(DataSpec(path=f"s3://{bucket}/empty.csv"))
    with pytest.raises(DataError, match=f'^s3://{bucket}/t.csv: column "b" is not numeric'):
        read_to_train(DataSpec(path=f"s3://{bucket}/t.csv"))


def test_wrong_credentials_are_told_of(
    client: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(DataError, match="S3 refuses these credentials"):
        read_to_train(DataSpec(path=f"s3://{bucket}/t.csv"))


def test_an_s3_that_does_not_answer_is_told_of_within_seconds(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    start = time.monotonic()
    with pytest.raises(DataError, match=f"{endpoint} cannot be reached; check AWS_ENDPOINT_URL"):
        read_to_train(DataSpec(path="s3://bucket/t.csv"))
    assert time.monotonic() - start < 15


def test_objects_of_the_same_name_in_two_buckets_are_two(client: Any, bucket: str) -> None:
    other = f"data-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=other)
    for name, value in ((bucket, 10), (other, 200)):
        client.put_object(Bucket=name, Key="x.png", Body=png(value))
    paths = (f"s3://{bucket}/x.png", f"s3://{other}/x.png", f"s3://{bucket}/y.png")
    client.put_object(Bucket=bucket, Key="y.png", Body=png(30))
    rows, _ = read_to_train(DataSpec(path=paths))
    assert rows.values[:, 0, 4, 4].tolist() == [10, 200, 30]


def test_an_object_that_is_replaced_by_one_of_its_size_is_fetched_again(
    client: Any, bucket: str
) -> None:
    spec = DataSpec(path=f"s3://{bucket}/t.csv")
    for value in ("1", "2", "3"):
        client.put_object(Bucket=bucket, Key="t.csv", Body=f"a\n{value}\n7\n8\n".encode())
        assert read_to_train(spec)[0].values[0, 0] == float(value)
