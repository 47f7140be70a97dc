"""Rows that lie in a file of one machine are sent to workers on others, if there is room."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import ray

from isthmus import resources
from isthmus.errors import ClusterError
from isthmus.launch.ray_trainer import put_rows
from tests.distributed.small_jobs import rows

pytestmark = pytest.mark.distributed

# Prints what came of it for each limit of the memory, in MiB.
ON_TWO_NODES = """
import json, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
import ray
from ray.cluster_utils import Cluster
from isthmus import resources
from isthmus.data import StoredRows
from isthmus.errors import ClusterError
from isthmus.launch.ray_trainer import put_rows
from isthmus.launch.session import ray_session
from tests.distributed.small_jobs import rows

file, said = Path(sys.argv[1]), {}
stored = replace(rows(), train=StoredRows(file, (file.stat().st_size // 24, 6)))
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
try:
    cluster.add_node(num_cpus=1)
    with ray_session(cluster.address, 1):
        for limit in (12, 20):
            resources._memory = lambda: iter([(limit << 20, 0)])
            try:
                said[limit] = float(ray.get(put_rows(stored)).train.sum())
            except ClusterError as error:
                said[limit] = str(error)
finally:
    cluster.shutdown()
print("\\n" + json.dumps(said))
"""


@pytest.mark.slow
def test_rows_of_a_file_are_sent_to_other_machines_only_if_their_copies_fit(tmp_path: Path) -> None:
    values = np.ones((350_000, 6), dtype=np.float32)  # 8 MiB
    values.tofile(tmp_path / "rows")
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as place:
        done = subprocess.run(
            [sys.executable, "-c", ON_TWO_NODES, str(tmp_path / "rows")],
            capture_output=True,
            text=True,
            timeout=280,
            env={**os.environ, "RAY_TMPDIR": place, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["12"].startswith(
        "the training rows take 16 MiB of memory to be sent to the workers, and 12 MiB are free; "
    )
    assert said["20"] == values.size


@pytest.mark.usefixtures("ray_session")
def test_rows_in_memory_are_put_into_the_object_store_only_if_they_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = rows().train.nbytes + rows().validation.nbytes
    monkeypatch.setattr(resources, "_memory", lambda: iter([(size, 0)]))
    assert np.array_equal(ray.get(put_rows(rows())).train, rows().train)
    monkeypatch.setattr(resources, "_memory", lambda: iter([(size - 1, 0)]))
    with pytest.raises(ClusterError, match="the training rows take 8 KiB of memory to be sent"):
        put_rows(rows())
