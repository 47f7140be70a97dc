"""How fast the registry answers: beside reading the bare files, and as it grows.

On a real MLflow server with a SQLite file. Prints a JSON line each:

- load-large: `registry.load` of a cached pair (ask MLflow, verify, build) over
  `safetensors.torch.load_file` of its two files, 400 MB in all. Both sides read every weight.
- load-medium, load-small: the same for 200 MB, and for 0.2 MB, where asking MLflow is all that
  takes time: it costs the same whatever the size, so the small one has no target. `request` is a
  bare GET of what `load` asks MLflow, which is in `ours` and no code of ours can spare.
- requests: HTTP requests to MLflow of a warm `resolve`.
- growth-resolve, growth-list, growth-promote: the same with 1, 10, 100 and 1,000 registered
  versions, in turns; the ratio is of the slowest size's median to the quickest's. A list has a
  row for each version up to a page of them: its ratio is of the sizes that fill a page, and the
  medians of all are printed. `mlflow_alone` are the bare requests for which MLflow's own store
  would read all versions, and ours (isthmus.stack.registry_store) does not: the list's, for the
  aliases, and both of promote that set one.

    python tests/benchmarks/registry.py [NAME ...]
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import requests as http
import torch
from measuring import compare, tell, wanted
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[2]))

from isthmus import aliases, registry
from isthmus.spec import Settings
from isthmus.tracking import open_store
from isthmus.tracking.store import as_default_store
from tests.servers.mlflow_server import MlflowServer
from tests.untrained import untrained_pair

COLUMNS = 64
LARGE, MEDIUM, SMALL = [6144, 6144, 2048], [4096, 4096, 2048], [256]
SIZES = (1, 10, 100, 1000)
TURNS = 25


class Work:
    """A server, and pairs in it."""

    def __init__(self, folder: Path) -> None:
        self.server = MlflowServer(folder / "server")
        self.server.start()
        self.server.wait()
        self.session = http.Session()
        self.api = f"{self.server.uri}/api/2.0/mlflow"
        self.settings = Settings.from_environment({"MLFLOW_TRACKING_URI": self.server.uri}, folder)

    def register(self, name: str, hidden: list[int]) -> None:
        """A pair of weights as they are drawn, champion of its name."""
        net = {"name": "dense", "hidden": hidden, "activation": "relu"}
        pair = untrained_pair(name, self.settings, shape=(COLUMNS,), net=net, latent_dim=16)
        registry.register_pair(pair, self.settings)
        aliases.promote(name, 1, self.settings)

    def multiply(self, name: str, versions: int) -> None:
        """Makes further versions of the first, as registering would, in the server's own file."""
        store = f"sqlite:///{self.server.folder / 'mlflow.db'}"
        client = open_store(self.settings.model_copy(update={"tracking_uri": store}))
        first = {half: client.get_model_version(f"{name}-{half}", "1") for half in HALVES}
        with as_default_store(store):
            for number in range(2, versions + 1):
                for half in HALVES:
                    tags = dict(first[half].tags)
                    tags["isthmus.pair_id"] = f"{number:016x}"
                    if half == "encoder":
                        tags["isthmus.decoder_version"] = str(number)
                    client.create_model_version(
                        f"{name}-{half}",
                        first[half].source,
                        first[half].run_id,
                        tags,
                        description=first[half].description,
                    )


HALVES = ("decoder", "encoder")


def load_large(work: Work) -> bool:
    work.register("large", LARGE)
    return _load(work, "load-large", "large", 1.5)


def load_medium(work: Work) -> bool:
    work.register("medium", MEDIUM)
    return _load(work, "load-medium", "medium", 1.5)


def load_small(work: Work) -> bool:
    work.register("small", SMALL)
    return _load(work, "load-small", "small", None)


def _load(work: Work, benchmark: str, name: str, target: float | None) -> bool:
    folder = registry.resolve(name, work.settings).folder
    files = [folder / f"{half}.safetensors" for half in HALVES]
    time.sleep(2.5)  # what was just written is hashed each time

    def ours() -> float:
        began_s = time.perf_counter()
        pair = registry.load(name, work.settings)
        for tensor in pair.module.state_dict().values():
            _touch(tensor)
        return time.perf_counter() - began_s

    def bare() -> float:
        began_s = time.perf_counter()
        for file in files:
            for tensor in load_file(file).values():
                _touch(tensor)
        return time.perf_counter() - began_s

    asked = f"{work.api}/registered-models/alias?name={name}-encoder&alias=champion"

    def request() -> float:
        return _timed(lambda: work.session.get(asked).raise_for_status())

    ours(), bare(), request()
    more = {"request": median(request() for _ in range(9))}
    size_mb = sum(file.stat().st_size for file in files) / 1e6
    if target is None:
        sides = median(ours() for _ in range(9)), median(bare() for _ in range(9))
        return tell(
            benchmark,
            met=None,
            unit="s",
            ours=sides[0],
            reference=sides[1],
            size_mb=size_mb,
            **more,
        )
    return compare(
        benchmark, ours, bare, target, better="lower", pairs=9, unit="s", size_mb=size_mb, **more
    )


def _touch(tensor: torch.Tensor) -> None:
    """Reads all of it: a file that is only mapped is not in memory yet."""
    float(tensor.sum())


def requests(work: Work) -> bool:
    work.register("counted", SMALL)
    registry.resolve("counted", work.settings)
    made: list[str] = []
    send = http.Session.send

    def note(self: http.Session, request: http.PreparedRequest, **options: object) -> object:
        made.append(str(request.path_url))
        return send(self, request, **options)

    http.Session.send = note  # type: ignore[method-assign,assignment]
    try:
        registry.resolve("counted", work.settings)
    finally:
        http.Session.send = send  # type: ignore[method-assign]
    return tell("requests", requests=len(made), target=2, met=len(made) <= 2)


def growth(work: Work) -> bool:
    for size in SIZES:
        work.register(f"of-{size}", SMALL)
        work.multiply(f"of-{size}", size)
    settings = work.settings

    def promote(name: str) -> float:
        seconds = _timed(lambda: aliases.promote(name, 1, settings, "next"))
        aliases.demote(name, settings, "next")
        return seconds

    def search(name: str) -> float:
        asked = {"filter": f"name='{name}-encoder'", "max_results": "1"}
        address = f"{work.api}/registered-models/search"
        return _timed(lambda: work.session.get(address, params=asked).raise_for_status())

    def give(name: str) -> float:
        def both() -> None:
            for half in HALVES:
                said = {"name": f"{name}-{half}", "alias": "bare", "version": "1"}
                work.session.post(f"{work.api}/registered-models/alias", json=said)

        return _timed(both)

    steps: dict[str, Callable[[str], float]] = {
        "growth-resolve": lambda name: _timed(lambda: registry.resolve(name, settings)),
        "growth-list": lambda name: _timed(lambda: registry.list_versions(name, settings)),
        "growth-promote": promote,
    }
    alone = {"growth-list": search, "growth-promote": give}
    filled = tuple(size for size in SIZES if size >= registry.NEWEST)
    compared = {"growth-list": filled}
    met = [
        _grow(name, step, compared.get(name, SIZES), alone.get(name))
        for name, step in steps.items()
    ]
    return all(met)


def _grow(
    benchmark: str,
    step: Callable[[str], float],
    compared: tuple[int, ...],
    alone: Callable[[str], float] | None,
) -> bool:
    middle = _medians(step)
    those = [middle[size] for size in compared]
    ratio = max(those) / min(those)
    more = {"mlflow_alone": _in_ms(_medians(alone))} if alone else {}
    return tell(
        benchmark,
        ratio=ratio,
        target=1.1,
        met=ratio <= 1.1,
        compared=list(compared),
        unit="ms",
        medians=_in_ms(middle),
        **more,
    )


def _medians(step: Callable[[str], float]) -> dict[int, float]:
    """Of each size, in seconds, in turns."""
    figures: dict[int, list[float]] = {size: [] for size in SIZES}
    for turn in range(TURNS + 1):
        for size in SIZES:
            seconds = step(f"of-{size}")
            if turn:  # the first warms
                figures[size].append(seconds)
    return {size: median(seconds) for size, seconds in figures.items()}


def _in_ms(middle: dict[int, float]) -> dict[str, float]:
    return {str(size): round(1e3 * seconds, 1) for size, seconds in middle.items()}


def _timed(step: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    step()
    return time.perf_counter() - began_s


BENCHMARKS: dict[str, Callable[[Work], bool]] = {
    "load-large": load_large,
    "load-medium": load_medium,
    "load-small": load_small,
    "requests": requests,
    "growth": growth,
}


def main() -> None:
    names = wanted(tuple(BENCHMARKS))
    with tempfile.TemporaryDirectory() as folder:
        work = Work(Path(folder))
        try:
            met = [BENCHMARKS[name](work) for name in names]
        finally:
            work.server.stop()
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
