"""A subscriptions file is checked as a whole; each runs once for each champion."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from isthmus.errors import SpecError
from isthmus.promotion.reruns import Reruns
from isthmus.promotion.subscriptions import Subscription, read_subscriptions

OURS = Path(__file__).parents[3] / "pipelines" / "subscriptions.yaml"
ONE = "subscriptions:\n  - {model: m, job: detect, input: in.csv, output: out.csv}\n"


def test_the_file_that_is_shipped_is_right():
    (one,) = read_subscriptions(OURS)
    assert (one.model, one.job) == ("digits", "detect")


def test_paths_are_relative_to_the_file(tmp_path):
    (tmp_path / "s.yaml").write_text(ONE)
    (one,) = read_subscriptions(tmp_path / "s.yaml")
    assert (one.source, one.output) == (str(tmp_path / "in.csv"), tmp_path / "out.csv")


WRONG = {
    "none": ("subscriptions: []\n", ["is empty"]),
    "another job": (ONE.replace("detect", "train"), ["'denoise' or 'detect'"]),
    "an output that is no table": (ONE.replace("out.csv", "out.jpg"), [".csv"]),
    "an output that is the input": (ONE.replace("out.csv", "./in.csv"), ["is the input"]),
    "an output in the input": (
        ONE.replace("in.csv", "in").replace("out.csv", "in/out.csv"),
        ["lies in the input"],
    ),
    "two with one output": (ONE + ONE.splitlines()[1] + "\n", ["another"]),
    "two faults": (ONE.replace("model: m", "modell: m"), ["no such field", "is missing"]),
}


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_told_at_once(tmp_path, text, said):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(SpecError) as caught:
        read_subscriptions(tmp_path / "s.yaml")
    assert all(each in str(caught.value) for each in said)


def finish(reruns):
    reruns.advance()
    while reruns.is_running:  # pytest's own timeout ends what hangs
        time.sleep(0.1)
        reruns.advance()


def test_a_run_that_hangs_is_ended_with_all_that_it_started(settings, tmp_path, monkeypatch):
    program, started = tmp_path / "hangs", tmp_path / "pid"
    program.write_text(f"#!/bin/sh\nsleep 600 & echo $! > {started}; wait\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    lines: list[str] = []
    hanging = Subscription("hangs", "detect", "in.csv", tmp_path / "out.csv", timeout_s=2)
    reruns = Reruns([hanging], settings, lines.append)
    reruns.follow("hangs", 1)
    reruns.advance()
    while not (started.exists() and started.read_text()):  # a busy system takes a moment here too
        time.sleep(0.05)
    finish(reruns)
    assert "failed: it took longer than 2 s" in lines[-1]
    child = int(started.read_text())
    while not is_gone(child):  # a busy system takes a moment to end what was killed
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.slow
def test_a_job_runs_once_for_each_champion_also_after_a_restart(versions, settings, rows, tmp_path):
    pd.read_csv(rows).drop(columns="label").to_csv(tmp_path / "in.csv", index=False)
    (tmp_path / "s.yaml").write_text(ONE)
    follow = read_subscriptions(tmp_path / "s.yaml")
    lines: list[str] = []
    reruns = Reruns(follow, settings, lines.append)
    reruns.follow("m", 1)
    finish(reruns)
    assert "by m/1" in lines[-1]
    first = pd.read_csv(tmp_path / "out.csv")["score"]
    again = Reruns(follow, settings, lines.append)
    again.follow("m", 1)
    finish(again)
    assert len(lines) == 2
    again.follow("m", 3)
    finish(again)
    assert "by m/3" in lines[-1]
    changed = pd.read_csv(tmp_path / "out.csv")["score"]
    assert not np.allclose(first, changed)
    (tmp_path / "in.csv").unlink()
    again.follow("m", 2)
    finish(again)
    assert "failed" in lines[-1]
    before = len(lines)
    finish(again)
    assert len(lines) == before  # not again at once
