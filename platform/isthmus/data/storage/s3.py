"""Copies of S3 objects on this machine, fetched again only when they change."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from filelock import FileLock
from pyarrow import fs

from isthmus.data.storage.s3_errors import S3Fault, fault_of, reason_of
from isthmus.errors import DataError
from isthmus.spec import Settings

_CONNECT_TIMEOUT_S = 5.0
_READ_TIMEOUT_S = 60.0
_ATTEMPTS = 2
_PARALLEL_DOWNLOADS = 16


def list_objects(address: str) -> tuple[list[tuple[str, str]], bool]:
    """Lists the one object of an address, or all below a prefix; downloads nothing.

    `AWS_ENDPOINT_URL` and the usual places for credentials are honoured.

    Args:
        address: `s3://bucket/key`, or `s3://bucket/prefix` for a folder.

    Returns:
        The name of each object relative to the prefix and its address, in order, and whether the
        address is a prefix.

    Raises:
        DataError: If there is nothing there, or S3 cannot be reached.
    """
    path = address.removeprefix("s3://").rstrip("/")
    bucket = path.partition("/")[0]
    if not bucket:
        raise DataError(f"{address}: names no bucket; write s3://bucket/key")
    with _said_plainly(address, bucket):
        files = connect_to(bucket)
        if "/" in path and not address.endswith("/"):
            one = files.get_file_info(path)
            if one.type == fs.FileType.File:
                return [(PurePosixPath(path).name, f"s3://{path}")], False
        selector = fs.FileSelector(path, recursive=True, allow_not_found="/" in path)
        found = [each for each in files.get_file_info(selector) if each.type == fs.FileType.File]
        if not found and files.get_file_info(bucket).type == fs.FileType.NotFound:
            raise DataError(f'{address}: there is no bucket "{bucket}"')
    names = [(each.path.removeprefix(f"{path}/"), f"s3://{each.path}") for each in found]
    visible = sorted(
        (name, place) for name, place in names if not any(p[:1] == "." for p in name.split("/"))
    )
    if not visible:
        raise DataError(
            f'{address}: no object, and no folder with data, of that name in bucket "{bucket}"'
        )
    return visible, True


def check_bucket(address: str) -> None:
    """Refuses an address whose bucket is not there, before there is anything to write to it.

    Raises:
        DataError: If there is no such bucket, or S3 cannot be reached.
    """
    bucket = _bucket_of(address)
    with _said_plainly(address, bucket):
        if connect_to(bucket).get_file_info(bucket).type == fs.FileType.NotFound:
            raise DataError(f'{address}: there is no bucket "{bucket}"; create it, or name another')


def fetch(addresses: Sequence[str]) -> list[Path]:
    """Brings objects to this machine, those that lie here unchanged excepted.

    Args:
        addresses: `s3://bucket/key` of each, or `s3://bucket/folder/` for a format that is a
            folder, all of which is fetched; others are local paths and are returned as they are.

    Returns:
        The local path of each.

    Raises:
        DataError: If an object or S3 itself cannot be reached.
    """
    local = {address: Path(address) for address in addresses}
    folders = [each for each in addresses if each.startswith("s3://") and each.endswith("/")]
    local |= {address: _fetch_all_below(address) for address in folders}
    objects = [each for each in addresses if each.startswith("s3://") and each not in folders]
    for bucket in dict.fromkeys(_bucket_of(address) for address in objects):
        own = [address for address in objects if _bucket_of(address) == bucket]
        root = _cache_of(bucket)
        with _said_plainly(own[0], bucket):
            files = connect_to(bucket)
            with FileLock(root / "lock"):
                _refresh(files, root, [address.removeprefix("s3://") for address in own])
        for address in own:
            local[address] = root / "objects" / _relative(address.removeprefix("s3://"))
    return [local[address] for address in addresses]


def fetch_folder(address: str) -> Path:
    """Brings all objects below a prefix to this machine, and returns the folder that holds them.

    Raises:
        DataError: If there is nothing there, or S3 cannot be reached.
    """
    objects, _ = list_objects(address)
    paths = fetch([place for _, place in objects])
    folder = paths[0].parents[len(PurePosixPath(objects[0][0]).parts) - 1]
    return _without_others(folder, paths)


def _fetch_all_below(address: str) -> Path:
    """Does the same with the hidden objects too, which hold the notes of an array."""
    path, bucket = address.removeprefix("s3://").rstrip("/"), _bucket_of(address)
    root = _cache_of(bucket)
    with _said_plainly(address, bucket):
        files = connect_to(bucket)
        found = files.get_file_info(fs.FileSelector(path, recursive=True))
        objects = [each.path for each in found if each.type == fs.FileType.File and each.size]
        with FileLock(root / "lock"):
            _refresh(files, root, objects)
    paths = [root / "objects" / _relative(each) for each in objects]
    return _without_others(root / "objects" / _relative(path), paths)


def _without_others(folder: Path, present: Sequence[Path]) -> Path:
    for each in set(folder.rglob("*")).difference(present):
        if each.is_file():
            each.unlink()  # fetched once, and not in S3 any more
    return folder


def _bucket_of(address: str) -> str:
    return address.removeprefix("s3://").partition("/")[0]


def _cache_of(bucket: str) -> Path:
    place = hashlib.sha256(f"{_endpoint() or ''} {bucket}".encode()).hexdigest()[:16]
    root = Settings.from_environment().cache / "s3" / place
    root.mkdir(parents=True, exist_ok=True)
    return root


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def connect_to(bucket: str) -> fs.S3FileSystem:
    """Returns the file system of a bucket, at `AWS_ENDPOINT_URL` if that is set."""
    endpoint = _endpoint()
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region is None and endpoint is None:
        region = fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        region=region,
        endpoint_override=endpoint,
        connect_timeout=_CONNECT_TIMEOUT_S,
        request_timeout=_READ_TIMEOUT_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
    )


def _refresh(files: fs.S3FileSystem, root: Path, paths: Sequence[str]) -> None:
    """Makes `root/objects` hold these objects as they are now."""
    index = root / "etags.json"
    known: dict[str, str] = json.loads(index.read_text()) if index.exists() else {}
    with ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as pool:
        etags = dict(zip(paths, pool.map(lambda path: _etag(files, path), paths), strict=True))
        stale = [
            path
            for path, etag in etags.items()
            if known.get(_relative(path)) != etag
            or not (root / "objects" / _relative(path)).is_file()
        ]
        # What an interrupted download leaves behind must not pass for current.
        outdated = {_relative(path) for path in stale}
        _write_index(index, {name: etag for name, etag in known.items() if name not in outdated})
        list(pool.map(lambda path: _download(files, path, root), stale))
    _write_index(index, {**known, **{_relative(path): etag for path, etag in etags.items()}})


def _etag(files: fs.S3FileSystem, path: str) -> str:
    """Returns the etag of an object; its content is not read."""
    try:
        with files.open_input_file(path) as file:
            if not file.size():
                raise DataError(f"s3://{path}: the file is empty (0 bytes)")
            return str(file.metadata()["ETag"])
    except FileNotFoundError as error:
        raise DataError(f"s3://{path}: there is no such object") from error


def _download(files: fs.S3FileSystem, path: str, root: Path) -> None:
    target = root / "objects" / _relative(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with part.open("wb") as file, files.open_input_stream(path) as content:
        shutil.copyfileobj(content, file, 1 << 20)
    part.replace(target)


def _write_index(index: Path, etags: dict[str, str]) -> None:
    temporary = index.with_suffix(".part")
    temporary.write_text(json.dumps(etags))
    temporary.replace(index)


def _relative(path: str) -> str:
    name = path.partition("/")[2]
    if ".." in PurePosixPath(name).parts:
        raise DataError(f'{path}: an object with ".." in its key cannot be stored here; rename it')
    return name


@contextmanager
def _said_plainly(address: str, bucket: str) -> Iterator[None]:
    """Turns what pyarrow raises into one line that says what to do."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{address}: {_told(error, bucket)}") from error


def _told(error: OSError, bucket: str) -> str:
    """Returns what is wrong and what to do."""
    short = reason_of(error)
    match fault_of(error):
        case S3Fault.NO_BUCKET:
            return f'there is no bucket "{bucket}"'
        case S3Fault.REFUSED:
            return (
                f"S3 refuses these credentials ({short}); check AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY and what they may read"
            )
        case S3Fault.NO_NETWORK:
            return (
                f"{_endpoint() or 'Amazon S3'} cannot be reached; check AWS_ENDPOINT_URL and the "
                f"network ({short})"
            )
        case S3Fault.NO_CREDENTIALS:
            return "no S3 credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        case S3Fault.OTHER:
            return f"S3 gives an error: {short}"
