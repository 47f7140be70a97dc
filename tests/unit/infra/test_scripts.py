"""The scripts that containers run, and the flags that they give to what they start."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.unit.infra.reading import INFRA, TELEMETRY_OFF, command


class Answers(BaseHTTPRequestHandler):
    """Answers /health and nothing else."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()
        thread.join()


def healthy(*urls: str) -> bool:
    script = [sys.executable, "-IS", str(INFRA / "healthy.py"), *urls]
    return subprocess.run(script, capture_output=True, check=False, timeout=30).returncode == 0


def test_a_health_check_is_passed_by_servers_that_all_answer(server: str) -> None:
    assert healthy(f"{server}/health")
    assert healthy(f"{server}/health", f"{server}/health")
    assert not healthy(f"{server}/health", f"{server}/gone")
    assert not healthy("http://127.0.0.1:1/health")


def start_store(tmp_path: Path, key: str) -> subprocess.CompletedProcess[str]:
    """Runs the store's script, where what it would start prints its arguments."""
    entrypoint = tmp_path / "entrypoint.sh"
    entrypoint.write_text('#!/bin/sh\necho "$@"\n')
    entrypoint.chmod(0o755)
    script = (INFRA / "s3/start.sh").read_text(encoding="utf-8")
    script = script.replace("/tmp/", f"{tmp_path}/").replace("exec /", f"exec {tmp_path}/")
    return subprocess.run(
        ["sh", "-c", script, "start.sh", "server", "-s3"],
        env={"PATH": os.environ["PATH"], "S3_ACCESS_KEY": "isthmus", "S3_SECRET_KEY": key},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_store_knows_one_identity_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    result = start_store(tmp_path, "a1+/=_-")
    path = tmp_path / "identities.json"
    assert result.stdout == f"server -s3 -s3.config={path}\n"
    assert path.stat().st_mode & 0o077 == 0
    (identity,) = json.loads(path.read_text())["identities"]
    assert identity["credentials"] == [{"accessKey": "isthmus", "secretKey": "a1+/=_-"}]


@pytest.mark.parametrize("key", ["", 'quo"te', "two words", "$(x)"])
def test_the_store_does_not_start_with_a_key_that_would_spoil_its_file(
    tmp_path: Path, key: str
) -> None:
    result = start_store(tmp_path, key)
    assert result.returncode == 1
    assert "S3_SECRET_KEY" in result.stderr
    assert not (tmp_path / "identities.json").exists()


def script_command(path: str, start: str) -> list[str]:
    """The line of a shell script that starts so, as words."""
    for line in (INFRA / path).read_text(encoding="utf-8").splitlines():
        if line.startswith(start):
            return shlex.split(line.removesuffix("&"))
    raise AssertionError(f"{path} has no line {start}")


TOOLS = {
    "mlflow": (["mlflow", "server"], lambda: command("mlflow")),
    "ray": (
        ["ray", "start"],
        lambda: (
            command("ray-head")
            + command("ray-worker")
            + script_command("schedules/start.sh", "ray start")
        ),
    ),
    "weed": (
        ["weed", "server"],
        lambda: command("s3") + script_command("s3/start.sh", "exec /entrypoint.sh"),
    ),
    "prefect": (["prefect", "server", "start"], lambda: command("prefect-server")),
    "isthmus": (["isthmus", "schedule", "serve"], lambda: command("schedules")),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TOOLS)
def test_every_flag_is_one_that_the_installed_program_lists(name: str) -> None:
    words, run = TOOLS[name]
    program = Path(sysconfig.get_path("scripts")) / words[0]
    if not program.exists():
        pytest.skip(f"{words[0]} is not installed: pip install isthmus[stack]")
    listed = help_of([str(program), *words[1:]])
    used = {word.partition("=")[0] for word in run() if word.startswith("-")}
    assert used
    for flag in sorted(used):
        assert re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w.-])", listed), f"{name}: {flag}"


def help_of(words: Sequence[str]) -> str:
    """What a program says of its flags; `weed` answers to -h alone, and with an error status."""
    flag = "-h" if words[0].endswith("weed") else "--help"
    environment = {**os.environ, **TELEMETRY_OFF, "COLUMNS": "200", "NO_COLOR": "1"}
    result = subprocess.run(
        [*words, flag], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    return result.stdout + result.stderr
