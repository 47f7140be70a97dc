"""Latents and their index in S3, on a real server: written there, and searched from there."""

from __future__ import annotations

import io
import json
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isthmus.registry import register_pair
from tests import untrained
from tests.servers.stack import S3Server

settings = untrained.settings

pytestmark = pytest.mark.slow

TABLE = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 6)), columns=list("abcdef"))


def test_an_index_in_s3_is_searched_and_its_neighbours_go_there(
    s3: S3Server, settings, here: Path, isthmus, monkeypatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    monkeypatch.setenv("ISTHMUS_HOME", str(settings.home))
    client, bucket = s3.client(), f"search-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key="in/r.csv", Body=TABLE.to_csv(index=False).encode())
    client.put_object(Bucket=bucket, Key="q.csv", Body=TABLE[7:9].to_csv(index=False).encode())
    data = {"path": "rows.csv", "columns": list("abcdef")}
    model = str(register_pair(untrained.untrained_pair("in-s3", settings, data=data), settings))
    output = f"s3://{bucket}/out/z.parquet"
    told = isthmus("embed", "--model", model, f"s3://{bucket}/in/r.csv", output, "--index")
    assert told.code == 0, told.err
    search = ("search", "--index", f"{output}.index", "--row", f"s3://{bucket}/q.csv", "-k", 2)
    found = json.loads(isthmus(*search, "--json").out)
    first = [
        row
        for row, rank in zip(*map(found["columns"].get, ("neighbour_row", "rank")), strict=True)
        if rank == 1
    ]
    assert first == [7, 8]
    near = f"s3://{bucket}/near.parquet"
    told = isthmus(*search, "--output", near)
    assert (told.code, near in told.out) == (0, True), told.err
    body = client.get_object(Bucket=bucket, Key="near.parquet")["Body"].read()
    assert len(pd.read_parquet(io.BytesIO(body))) == 4
    again = isthmus(*search, "--output", near)
    assert (again.code, again.err) == (
        2,
        f"{near} exists already; choose another output, or add --force (in Python force=True)\n",
    )
    elsewhere = f"s3://{bucket}/in"
    told = isthmus("search", "--index", elsewhere, "--row", f"s3://{bucket}/q.csv")
    assert told.err.startswith(f"{elsewhere}: is no whole index of latents; ")
