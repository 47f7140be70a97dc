"""`isthmus serve` as a person runs it: it says where it listens, and Ctrl-C ends all of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

import isthmus as package
from isthmus.registry import register_pair
from isthmus.servers import free_port
from isthmus.spec import Settings
from tests.titles import title_of
from tests.untrained import untrained_pair

# Five processes start, each of which imports Ray or torch.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
_START_TIMEOUT_S = 400.0


@pytest.fixture
def folder(here: Path) -> Path:
    settings = Settings.from_environment()
    data = {"path": "rows.csv", "columns": list("abcdef")}
    register_pair(untrained_pair("six", settings, data=data), settings)
    package.promote("six", 1, settings=settings, force=True, why="a test")
    return here


def test_what_cannot_be_served_is_one_line(folder, isthmus):
    unknown = isthmus("serve", "--model", "sixx@champion")
    assert (unknown.code, len(unknown.err.splitlines())) == (2, 1)
    assert "sixx" in unknown.err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = isthmus("serve", "--model", "six", "--port", port)
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert f"port {port} of 127.0.0.1 is taken; choose another with --port" in refused.err
    opened = isthmus("serve", "--model", "six", "--host", "0.0.0.0")
    assert (opened.code, len(opened.err.splitlines())) == (2, 1)
    assert "set ISTHMUS_SERVE_TOKEN" in opened.err
    here = isthmus("serve", "--model", "six", "--replace")
    assert (here.code, len(here.err.splitlines())) == (2, 1)
    assert "--replace is for a service on a cluster; give its --address too" in here.err


def test_ctrl_c_ends_every_process_of_a_service(folder):
    port = free_port("127.0.0.1")
    with Path("said.txt").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "isthmus", "serve", "--model", "six", "--port", str(port)],
            stdout=said,
            stderr=said,
            start_new_session=True,
            env={**os.environ, "COLUMNS": "200"},
        )
    family = [psutil.Process(process.pid)]
    try:
        until_s = time.monotonic() + _START_TIMEOUT_S
        while f"answers at http://127.0.0.1:{port}" not in Path("said.txt").read_text():
            assert process.poll() is None, Path("said.txt").read_text()
            assert time.monotonic() < until_s, Path("said.txt").read_text()
            time.sleep(0.2)
        answer = httpx.post(f"http://127.0.0.1:{port}/detect", json=[[0] * 6], timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.headers["X-Isthmus-Pair"].startswith("six/1 ")
        family += family[0].children(recursive=True)
        assert any("ServeReplica" in title_of(each) for each in family)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 0
        lines = Path("said.txt").read_text().splitlines()
        assert lines[0].startswith("six/1 (pair ")
        assert lines[1:] == ["Stopped."]
        _, left = psutil.wait_procs(family, 60)
        assert [each for each in left if each.status() != psutil.STATUS_ZOMBIE] == []
    finally:
        if family[0].is_running():
            family += family[0].children(recursive=True)
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.kill()
