"""A Ray of our own is gone with the block that it is for."""

import subprocess
import sys
import time

import psutil
import pytest

pytestmark = pytest.mark.distributed

SCRIPT = """
import atexit, os, time
import ray
from isthmus.training import ray_session

@ray.remote(num_cpus=0)
class Hanging:
    def pid(self):
        return os.getpid()
    def leave(self):
        atexit.register(time.sleep, 600)
        ray.actor.exit_actor()

with ray_session(None, 1):
    hanging = Hanging.remote()
    print(ray.get(hanging.pid.remote()))
    try:
        ray.get(hanging.leave.remote())
    except ray.exceptions.RayActorError:
        pass
"""


def test_no_process_of_it_is_left(tmp_path):
    """Nor one that hangs in its own exit, as Ray Train's controller does at times."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    pid = int(done.stdout)
    until_s = time.monotonic() + 10
    while psutil.pid_exists(pid) and time.monotonic() < until_s:
        time.sleep(0.1)
    is_left = psutil.pid_exists(pid)
    if is_left:
        psutil.Process(pid).kill()
    assert not is_left
