"""What all tests share: a quiet environment, one local Ray, and the command line as a function."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from isthmus.quiet import quieten

pytest_plugins = [
    *("tests.project", "tests.stores"),
    *("tests.servers.mlflow_server", "tests.servers.stack"),
]

# Before any test imports Ray, MLflow or Prefect; and two cores are shared by many processes.
quieten()
gc.set_threshold(20_000)  # a test makes little garbage, and imports many objects that stay
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The tests say where stores and clusters are; a developer's own must not be written to.
_STORES = (
    *("MLFLOW_TRACKING_URI", "ISTHMUS_HOME", "ISTHMUS_STORAGE", "ISTHMUS_EMBEDDED"),
    "ISTHMUS_REQUIRE_GATE",
    "COLUMNS",  # pytest-xdist sets it
    *("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "PREFECT_API_URL"),
)
for _name in _STORES:
    os.environ.pop(_name, None)


# A shell starts what is to run in its background deaf to Ctrl-C, and so would be what tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Tests that share the one local Ray.
_RAY = "ray"


# First, so that xdist finds the groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps tests that share what takes long to make in one of `make test`'s processes."""
    groups = {item: _group_of(item) for item in items}
    for item, group in groups.items():
        if group is not None:
            item.add_marker(pytest.mark.xdist_group(group))
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Those take one process as long as all others take the other: it begins with them.
        items.sort(key=lambda item: groups[item] != _RAY)


def _group_of(item: pytest.Item) -> str | None:
    """What an item is kept together with; `None` if it may run anywhere."""
    if {"project", "ray_session"} & set(getattr(item, "fixturenames", ())):
        return _RAY
    room = item.path.relative_to(Path(__file__).parent).parts
    if room[0] in ("integration", "ui"):
        return "servers"
    return None if room[0] == "contract" else "/".join(room[:2])


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray for the whole session: it takes seconds to start."""
    from isthmus.launch.session import ray_session as session

    with session(None, 2):
        yield


@pytest.fixture
def torch_as_before() -> Iterator[None]:
    """Takes back what `train_worker` settles for a whole process, in which other tests follow."""
    import torch
    from torch.utils import deterministic

    before = torch.are_deterministic_algorithms_enabled(), deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(before[0])
    deterministic.fill_uninitialized_memory = before[1]


@dataclass(frozen=True)
class Finished:
    """What a command came to."""

    code: int
    out: str
    err: str


Command = Callable[..., Finished]


@pytest.fixture
def isthmus(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs an `isthmus` command in this process and folder: importing torch anew takes seconds."""

    def run(*arguments: object) -> Finished:
        return run_command(monkeypatch, capsys, *arguments)

    return run


def run_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> Finished:
    import signal

    from isthmus import cli

    root = logging.getLogger()
    handlers, level, ended = root.handlers[:], root.level, signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "argv", ["isthmus", *map(str, arguments)])
    capsys.readouterr()
    try:
        cli.main()
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    finally:
        logging.captureWarnings(False)
        for handler in root.handlers:
            handler.close()
        root.handlers = handlers
        root.setLevel(level)
        signal.signal(signal.SIGTERM, ended)
    captured = capsys.readouterr()
    return Finished(code, captured.out, captured.err)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, made the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
