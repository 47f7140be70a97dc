"""Ctrl-C and SIGTERM end any command with one line and exit code 130, however early they come."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.architecture.source import PACKAGE, environment
from tests.project import JOB

pytestmark = pytest.mark.slow

# What the installed command does; it says when Python itself has started.
COMMAND = "print('started', flush=True); from isthmus.__main__ import main; main()"
# The same with a signal at the first import of a module.
INTERRUPTED_IN = """
import os, signal, sys

def interrupt(event, arguments, at=[{module!r}]):
    if event == "import" and at and arguments[0] == at[0]:
        at.clear()
        os.kill(os.getpid(), signal.{sent})

sys.addaudithook(interrupt)
"""
LONG = ("train", str(JOB), "--set", "training.epochs=100000")
LONG += ("--set", "training.early_stopping=null", "--set", "training.workers=1")


def start(code: str, folder: Path) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(PACKAGE.parent), str(PACKAGE.parents[1])])
    return subprocess.Popen(
        [sys.executable, "-c", code, *LONG],
        cwd=folder,
        env=environment({"PYTHONPATH": paths}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_it_says_that_it_stopped(process: subprocess.Popen[str]) -> None:
    try:
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert said.splitlines()[-1].startswith("Stopped"), said
    assert "Traceback" not in said


@pytest.mark.parametrize("after_s", [0.05, 0.3, 0.8, 1.5, 3.0])
def test_ctrl_c_soon_after_the_start_is_answered(tmp_path: Path, after_s: float) -> None:
    process = start(COMMAND, tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    assert_it_says_that_it_stopped(process)


@pytest.mark.parametrize(
    "module",
    ["isthmus.cli", "typer", "isthmus.cli.logs", "numpy", "numpy._core._multiarray_umath", "torch"],
)
def test_ctrl_c_in_an_import_is_answered(tmp_path: Path, module: str) -> None:
    process = start(INTERRUPTED_IN.format(module=module, sent="SIGINT") + COMMAND, tmp_path)
    assert_it_says_that_it_stopped(process)


@pytest.mark.parametrize("module", ["isthmus.cli", "typer", "torch"])
def test_sigterm_in_an_import_is_answered_as_ctrl_c(tmp_path: Path, module: str) -> None:
    process = start(INTERRUPTED_IN.format(module=module, sent="SIGTERM") + COMMAND, tmp_path)
    assert_it_says_that_it_stopped(process)
