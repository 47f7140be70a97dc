"""A training that several tests compare theirs with: Ray's workers take seconds to start."""

from __future__ import annotations

import pytest

from isthmus.launch.ray_trainer import fit
from isthmus.progress.reporter import SilentReporter
from isthmus.progress.result import FitResult
from tests.distributed.small_jobs import PLAIN, plan, rows, training


@pytest.fixture(scope="session")
def whole_of_two_workers(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> FitResult:
    """What came of `PLAIN`, trained by two workers through Ray without an interruption."""
    return fit(
        plan("plain"),
        training(workers=2, **PLAIN),
        rows(300),
        storage_path=str(tmp_path_factory.mktemp("whole")),
        run_name="whole",
        reporter=SilentReporter(),
    )
