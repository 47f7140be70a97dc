"""How fast a service answers, and whether it fails a request when things change under it.

A client process asks a service on this machine from several threads. Beside it, the same rows go
through the bare pair in this process, in one call. Then, under load, five versions are promoted
and a replica is killed; no request may fail.

    python tests/benchmarks/serving.py [SECONDS]
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil

import isthmus
from isthmus.quiet import quieten
from isthmus.registry import Pair, register_pair
from isthmus.serve.options import Place, ServeOptions
from isthmus.serve.server import Service, serving
from isthmus.servers import free_port
from isthmus.spec import Settings

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.measuring import tell
from tests.untrained import untrained_pair

COLUMNS, VERSIONS, PROMOTIONS, CLIENTS = 32, 2, 5, 4
SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
# A row at a time as JSON, as a web page asks; many at once as npz, as a program does.
LOADS = {"one row as JSON": 1, "2,000 rows as npz": 2_000}

CLIENT = f"""
import io, json, sys, threading, time
import httpx, numpy as np

url, threads, rows, ends_s = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
values = np.random.default_rng(0).normal(size=(rows, {COLUMNS})).astype(np.float32)
body = io.BytesIO()
np.savez(body, x=values)
npz = {{"content": body.getvalue(), "headers": {{"Content-Type": "application/x-npz"}}}}
asked = {{"json": values.tolist()}} if rows == 1 else npz
seconds, failed, pairs, lock = [], [], set(), threading.Lock()

def ask():
    with httpx.Client(timeout=60) as client:
        while time.time() < ends_s:
            began = time.perf_counter()
            try:
                answer = client.post(url, **asked)
                said = answer.status_code if answer.status_code != 200 else None
            except httpx.HTTPError as error:
                said = repr(error)
            with lock:
                seconds.append(time.perf_counter() - began)
                if said is None:
                    pairs.add(answer.headers["X-Isthmus-Pair"])
                else:
                    failed.append(said)

workers = [threading.Thread(target=ask) for _ in range(threads)]
[each.start() for each in workers]
[each.join() for each in workers]
print(json.dumps({{"seconds": seconds, "failed": failed, "pairs": sorted(pairs)}}))
"""


@contextmanager
def client(service: Service, rows: int, seconds: float) -> Iterator[dict[str, object]]:
    """Runs the client beside the block; its figures are there at the end."""
    found: dict[str, object] = {}
    arguments = [f"{service.url}/detect", CLIENTS, rows, time.time() + seconds]
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    ) as process:
        yield found
        out, _ = process.communicate()
    found.update(json.loads(out))


def bare_rows_per_s(pair: Pair, rows: int) -> float:
    """Returns how many rows the pair itself scores in a second, in calls of so many."""
    values = np.random.default_rng(0).normal(size=(rows, COLUMNS)).astype(np.float32)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < 2:
        pair.detect(values)
        done += rows
    return done / (time.perf_counter() - began)


def measure(service: Service, pair: Pair, called: str, rows: int) -> bool:
    """Prints the latency and the rows per second of one kind of load."""
    with client(service, rows, 2):
        pass  # the first requests take longer
    with client(service, rows, SECONDS) as found:
        pass
    seconds = np.array(found["seconds"])
    served = len(seconds) * rows / SECONDS
    bare = bare_rows_per_s(pair, rows)
    return tell(
        f"serve: {called}",
        ratio=served / bare,
        target=None,
        met=not found["failed"],
        requests=len(seconds),
        failed=len(found["failed"]),
        p50_ms=round(1000 * float(np.percentile(seconds, 50)), 1),
        p99_ms=round(1000 * float(np.percentile(seconds, 99)), 1),
        rows_per_s=round(served),
        bare_rows_per_s=round(bare),
        clients=CLIENTS,
    )


def replicas() -> list[psutil.Process]:
    """Returns the processes that hold the pair."""
    below = psutil.Process().children(recursive=True)
    return [each for each in below if ":pair" in " ".join(each.cmdline())]


def change_under_load(service: Service, settings: Settings) -> bool:
    """Promotes five versions and kills a replica while the client asks."""
    with client(service, 1, 8 * PROMOTIONS) as found:
        took_s = []
        for number in range(PROMOTIONS):
            version = 2 - number % VERSIONS
            isthmus.promote("serving", version, settings=settings, force=True, why="a benchmark")
            began = time.monotonic()
            while httpx.get(f"{service.url}/ready").json()["model"] != f"serving/{version}":
                time.sleep(0.05)
            took_s.append(time.monotonic() - began)
            if number == PROMOTIONS // 2:
                os.kill(replicas()[0].pid, signal.SIGKILL)
    failed = found["failed"]
    return tell(
        "serve: five promotions and a killed replica",
        ratio=float(len(failed)),
        target=0,
        met=not failed,
        requests=len(found["seconds"]),
        failed=len(failed),
        pairs=len(found["pairs"]),
        slowest_promotion_s=round(max(took_s), 1),
        longest_request_s=round(max(found["seconds"]), 1),
    )


def main() -> int:
    """Serves an untrained pair, as its weights do not change how fast it is."""
    quieten()
    with tempfile.TemporaryDirectory() as name:
        settings = Settings.from_environment({}, Path(name))
        for seed in range(VERSIONS):
            pair = untrained_pair("serving", settings, seed, shape=(COLUMNS,))
            register_pair(pair, settings)
        isthmus.promote("serving", 1, settings=settings, force=True, why="a benchmark")
        options = ServeOptions(model="serving", replicas=2, follow_s=0.5)
        with serving(options, Place(port=free_port("127.0.0.1")), settings) as service:
            pair = isthmus.load("serving/1", device="cpu", settings=settings)
            met = [measure(service, pair, called, rows) for called, rows in LOADS.items()]
            met.append(change_under_load(service, settings))
    return 0 if all(met) else 1


if __name__ == "__main__":
    raise SystemExit(main())
