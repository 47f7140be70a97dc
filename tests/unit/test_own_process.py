"""Processes of Isthmus collect garbage seldom, and take no more threads than they may."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_MAKES_GARBAGE = """
import gc
from isthmus import own_process

class Garbage:
    freed = 0
    def __init__(self):
        self.itself = self
    def __del__(self):
        Garbage.freed += 1
        if Garbage.at_end:
            print("freed at the end", flush=True)

gc.collect()
own_process.begin()
Garbage.at_end = False
collections = []
gc.callbacks.append(lambda phase, _: collections.append(phase))
for _ in range(200_000):
    Garbage()
gc.callbacks.clear()
print(Garbage.freed, len(collections) // 2)
gc.collect()
Garbage.at_end = True
Garbage()
"""
_COMMAND = """
import gc, sys
from isthmus.__main__ import main

sys.argv = ["isthmus", "variants"]
try:
    main()
finally:
    print(gc.get_threshold()[0])
"""


_TRAINING = """
import gc
import numpy as np
from isthmus import own_process

usual = gc.get_threshold()
own_process.begin()
import isthmus
from pytorch_lightning import Callback

class Notes(Callback):
    def on_train_start(self, trainer, module):
        print(gc.get_threshold() == usual)

rows = np.random.default_rng(0).standard_normal((300, 6)).astype("f4")
job = {"name": "small", "latent_dim": 2, "training": {"epochs": 1}}
isthmus.train(job, data=rows, callbacks=[Notes()])
"""


_THREADS = """
import os
os.environ.pop("OMP_NUM_THREADS", None)
import torch
from isthmus import own_process, resources

torch.set_num_threads(8)  # as torch does by itself on a host of eight cores
resources.cpus = lambda: 3
own_process.settle()
print(torch.get_num_threads())
own_process.begin()
own_process.settle()
print(torch.get_num_threads())
"""


def printed_by(script: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_garbage_is_freed_seldom_but_freed_and_not_at_the_end_of_the_process():
    (counts,) = printed_by(_MAKES_GARBAGE)
    freed, collections = map(int, counts.split())
    assert freed > 100_000
    assert collections < 20  # 285 with the 700 objects that Python waits for, 100 with 2000


def test_a_training_collects_as_usual_so_that_the_garbage_of_its_steps_is_freed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert "True" in printed_by(_TRAINING)


def test_torch_takes_the_cpus_of_a_containers_quota_in_our_own_processes_alone():
    assert printed_by(_THREADS) == ["8", "3"]


def test_the_process_of_a_command_collects_rarely():
    assert int(printed_by(_COMMAND)[-1]) > 10_000
