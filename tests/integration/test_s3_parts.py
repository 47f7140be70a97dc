"""A cluster's parts in S3, on a real server: each whole, kept by the next job, summed up last."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from isthmus.registry import register_pair
from isthmus.spec import Settings
from tests import untrained
from tests.servers.stack import S3Server

pytestmark = [pytest.mark.slow, pytest.mark.distributed]

# In a process of its own: the workers of its Ray have its environment, with the keys of S3.
SCRIPT = """
import dataclasses, json, sys
from pathlib import Path
from isthmus.execution.request import Request
from isthmus.execution.running import run
from isthmus.launch.session import ray_session
from isthmus.data.outputs.parts_folder import PartsFolder
from isthmus.spec import Settings
from isthmus.uses.detect import Detect

home, model, bucket = sys.argv[1:]
settings = Settings.from_environment({}, Path(home))
source, output = f"s3://{bucket}/in", f"s3://{bucket}/results/out"
folder = PartsFolder.at(output)
request = Request(address="auto", form="parquet")
with ray_session(None, 2):
    first = run(Detect(), model, source, output, settings, request)
    for name in ("summary.json", "b.csv.parquet"):
        folder.remove(name)
    again = run(Detect(), model, source, output, settings, request)
print(json.dumps([dataclasses.asdict(first), dataclasses.asdict(again)]))
"""


@pytest.fixture
def bucket(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ISTHMUS_HOME", str(tmp_path / "home"))
    name = f"parts-{uuid.uuid4().hex[:12]}"
    client = s3.client()
    client.create_bucket(Bucket=name)
    table = pd.DataFrame(
        np.random.default_rng(0).normal(size=(30, 6)), columns=list("abcdef")
    ).to_csv(index=False)
    for key, content in (("a", table), ("b", table), ("c", table + "1,2\n")):
        client.put_object(Bucket=name, Key=f"in/{key}.csv", Body=content.encode())
    return name


def test_parts_in_s3_are_whole_and_kept(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    settings = Settings.from_environment({}, tmp_path)
    data = {"path": "rows.csv", "columns": list("abcdef")}
    pair = register_pair(untrained.untrained_pair("in-s3", settings, data=data), settings)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), f"in-s3/{pair.version}", bucket],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, again = json.loads(done.stdout.splitlines()[-1])
    # The rows that c set aside are in one file with those of all others, so c is done again.
    assert (first["kept"], again["kept"]) == (0, 1)
    assert (first["rows"], first["rejected"]) == (again["rows"], again["rejected"]) == (90, 1)
    objects = s3.client().list_objects_v2(Bucket=bucket, Prefix="results/")["Contents"]
    # pyarrow leaves an empty object with "/" at its end where it has removed another.
    found = {each["Key"].removeprefix("results/") for each in objects}
    keys = {key for key in found if not key.endswith("/")}
    parts = {f"out/{name}.csv.parquet" for name in "abc"}
    notes = {"out/pair.json", "out/summary.json", *(f"{part}.pair.json" for part in parts)}
    assert keys == {*parts, *notes, "out.rejected.csv", "out.rejected.csv.pair.json"}

    def content(key: str) -> io.BytesIO:
        answer: Any = s3.client().get_object(Bucket=bucket, Key=f"results/{key}")
        return io.BytesIO(answer["Body"].read())

    for part in parts:
        assert list(pd.read_parquet(content(part))["row"]) == list(range(30))
    rejected = pd.read_csv(content("out.rejected.csv"))
    assert rejected[["row", "file"]].to_numpy().tolist() == [[30, "c.csv"]]
