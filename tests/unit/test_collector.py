"""Processes of Isthmus go through their objects seldom, and still free what is garbage."""

from __future__ import annotations

import subprocess
import sys

_MAKES_GARBAGE = """
import gc
from isthmus.collector import collect_rarely

class Garbage:
    freed = 0
    def __init__(self):
        self.itself = self
    def __del__(self):
        Garbage.freed += 1
        if Garbage.at_end:
            print("freed at the end", flush=True)

gc.collect()
collect_rarely()
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


def test_the_process_of_a_command_collects_rarely():
    assert int(printed_by(_COMMAND)[-1]) > 10_000
