"""A Ray of our own is gone with the block that it is for."""

import subprocess
import sys
import time

import psutil
import pytest

pytestmark = pytest.mark.distributed

SCRIPT = """
import os, subprocess, sys
import ray
from isthmus.training import ray_session

@ray.remote(num_cpus=0)
class Stubborn:
    def start(self):
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        return os.getpid(), child.pid

with ray_session(None, 1):
    stubborn = Stubborn.remote()
    print(*ray.get(stubborn.start.remote()))
"""


def test_no_process_of_it_is_left(tmp_path):
    """Also what does not end by itself: Ray Train's controller hangs in its own exit at times."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    left = [int(pid) for pid in done.stdout.split()]
    assert len(left) == 2
    until_s = time.monotonic() + 10
    while any(psutil.pid_exists(pid) for pid in left) and time.monotonic() < until_s:
        time.sleep(0.1)
    alive = [pid for pid in left if psutil.pid_exists(pid)]
    for pid in alive:
        psutil.Process(pid).kill()
    assert not alive
