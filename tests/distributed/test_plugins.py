"""A net of a file trains in Ray's workers, which import what the plan carries."""

from __future__ import annotations

import pytest

from isthmus.jobs.specs import load_job_file, plan_for
from isthmus.launch.ray_trainer import fit
from isthmus.progress.reporter import SilentReporter
from isthmus.types import DataKind, ScalingMode
from tests.distributed.small_jobs import rows, training
from tests.own_plugins import write_example

pytestmark = [pytest.mark.distributed, pytest.mark.slow]


def test_two_workers_train_a_variant_and_a_net_of_a_file(ray_session, here):
    spec = load_job_file(write_example(here))
    data = {"kind": DataKind.TABULAR, "scaling": ScalingMode.STANDARD}
    plan = plan_for(spec, spec.data.model_copy(update=data), (6,))
    (here / "swirl.py").unlink()  # a worker on another machine does not see it either
    result = fit(
        plan,
        training(epochs=2, workers=2),
        rows(),
        storage_path=str(here / "runs"),
        run_name="swirled",
        reporter=SilentReporter(),
    )
    assert result.progress.epochs == 2
    assert result.state is not None
    assert "encoder.hidden.weight" in result.state
