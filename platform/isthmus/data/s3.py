"""Copies of S3 objects on this machine, fetched again only when their etag changes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from filelock import FileLock

from isthmus.data.storage import ALL_ENDINGS
from isthmus.errors import DataError
from isthmus.spec import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 60
_PARALLEL_DOWNLOADS = 16


def download(address: str) -> Path:
    """Brings an object, or all objects below a prefix, to this machine.

    Objects that lie here already, with the same etag, are not fetched again. `AWS_ENDPOINT_URL`
    and the usual places for credentials are honoured.

    Args:
        address: `s3://bucket/key`, or `s3://bucket/prefix` for a folder.

    Returns:
        The file or the folder.

    Raises:
        DataError: If the bucket, the key or S3 itself cannot be reached.
    """
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if not bucket:
        raise DataError(f"{address}: names no bucket; write s3://bucket/key")
    with _said_plainly(address, bucket):
        client = _connect()
        etags = _list(client, bucket, key)
        if not etags:
            raise DataError(
                f'{address}: no object, and no folder with data, of that name in bucket "{bucket}"'
            )
        place = hashlib.sha256(f"{client.meta.endpoint_url} {address}".encode()).hexdigest()[:16]
        root = Settings.from_environment().cache / "s3" / place
        root.mkdir(parents=True, exist_ok=True)
        is_one_object = key in etags
        base = key.rpartition("/")[0] if is_one_object else key
        with FileLock(root / "lock"):
            _refresh(client, bucket, base, root, etags)
    folder = root / "objects"
    return folder / PurePosixPath(key).name if is_one_object else folder


def list_objects(address: str) -> list[str]:
    """Names the data below a prefix, or the one object of that name, in order; downloads nothing.

    Args:
        address: `s3://bucket/key`, or `s3://bucket/prefix` for a folder.

    Returns:
        Their addresses; none if there are none.

    Raises:
        DataError: If the bucket or S3 itself cannot be reached.
    """
    bucket, _, key = address.removeprefix("s3://").partition("/")
    with _said_plainly(address, bucket):
        return [f"s3://{bucket}/{name}" for name in sorted(_list(_connect(), bucket, key))]


def _connect() -> S3Client:
    import boto3.session
    from botocore.config import Config

    config = Config(
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=_READ_TIMEOUT_S,
        retries={"total_max_attempts": 2, "mode": "standard"},
        max_pool_connections=_PARALLEL_DOWNLOADS,
        # Other servers than Amazon's do not all send the newer checksums.
        response_checksum_validation="when_required",
    )
    # Not boto3.client: its session, shared by all, keeps the first credentials it saw.
    return boto3.session.Session().client("s3", config=config)


def _list(client: S3Client, bucket: str, key: str) -> dict[str, str]:
    """The etag of each object: the one of that very key, else all below it that can be read."""
    prefix = key if key.endswith("/") or not key else f"{key}/"
    below: dict[str, str] = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key):
        for entry in page.get("Contents", []):
            if entry["Key"] == key and not key.endswith("/"):
                return {key: entry["ETag"]}
            if entry["Key"].startswith(prefix) and entry["Key"].lower().endswith(ALL_ENDINGS):
                below[entry["Key"]] = entry["ETag"]
    return below


def _refresh(
    client: S3Client, bucket: str, base: str, root: Path, etags: Mapping[str, str]
) -> None:
    """Makes `root/objects` hold these objects and no others, by their names below `base`."""
    folder, index = root / "objects", root / "etags.json"
    known: dict[str, str] = json.loads(index.read_text()) if index.exists() else {}
    wanted = {_relative(key, base): (key, etag) for key, etag in etags.items()}
    for name in known.keys() - wanted.keys():
        (folder / name).unlink(missing_ok=True)
    stale = {
        name
        for name, (_, etag) in wanted.items()
        if known.get(name) != etag or not (folder / name).is_file()
    }
    # What an interrupted download leaves behind must not pass for current.
    _write_index(index, {name: known[name] for name in wanted if name not in stale})

    def fetch(name: str) -> None:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        with part.open("wb") as file:
            shutil.copyfileobj(
                client.get_object(Bucket=bucket, Key=wanted[name][0])["Body"], file, 1 << 20
            )
        part.replace(target)

    with ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as pool:
        list(pool.map(fetch, stale))
    _write_index(index, {name: etag for name, (_, etag) in wanted.items()})


def _write_index(index: Path, etags: Mapping[str, str]) -> None:
    temporary = index.with_suffix(".part")
    temporary.write_text(json.dumps(etags))
    temporary.replace(index)


def _relative(key: str, base: str) -> str:
    name = key.removeprefix(base).lstrip("/")
    if ".." in PurePosixPath(name).parts:
        raise DataError(f'{key}: an object with ".." in its key cannot be stored here; rename it')
    return name


@contextmanager
def _said_plainly(address: str, bucket: str) -> Iterator[None]:
    """Turns what botocore raises into one line that says what to do."""
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectionError,
        HTTPClientError,
        NoCredentialsError,
    )

    try:
        yield
    except NoCredentialsError:
        raise DataError(
            f"{address}: no S3 credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from None
    except (ConnectionError, HTTPClientError) as error:
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        where = endpoint or "Amazon S3"
        raise DataError(
            f"{address}: {where} cannot be reached; check AWS_ENDPOINT_URL and the network "
            f"({_first_line(error)})"
        ) from error
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in ("NoSuchBucket", "404"):
            raise DataError(f'{address}: there is no bucket "{bucket}"') from error
        if code in ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
            raise DataError(
                f"{address}: S3 refuses these credentials ({code}); check AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY and what they may read"
            ) from error
        raise DataError(f"{address}: S3 answers {_first_line(error)}") from error
    except BotoCoreError as error:
        raise DataError(f"{address}: {_first_line(error)}") from error
    except OSError as error:
        raise DataError(f"{address}: cannot be copied to this machine: {error}") from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
