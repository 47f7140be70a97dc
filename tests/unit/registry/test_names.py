"""A job's name is checked before training: what MLflow would refuse at the end is refused then."""

from __future__ import annotations

import string

import pytest

from isthmus.errors import SpecError
from isthmus.jobs.specs import check_job
from isthmus.tracking import open_store


def is_allowed(name: str) -> bool:
    try:
        check_job({"name": name, "data": "rows.csv"})
    except SpecError:
        return False
    return True


# Every kind of character, in the middle, in front and at the end; and both ends of the length.
NAMES = [f"cells{sign}2" for sign in string.punctuation + " é\n\x00"]
NAMES += [f"{sign}cells" for sign in "-_.0"] + [f"cells{sign}" for sign in "-_.\n"]
NAMES += ["7", "a" * 100, "a" * 101, ""]


def test_every_name_that_a_job_may_have_is_one_that_mlflow_takes(settings):
    client = open_store(settings)
    allowed = [name for name in NAMES if is_allowed(name)]
    assert {"cells-2", "cells_2", "0cells", "cells-", "cells_", "7", "a" * 100} == set(allowed)
    for name in allowed:
        experiment = client.create_experiment(name)
        client.create_run(experiment, run_name=f"{name}-heron-123")
        for half in ("encoder", "decoder"):
            client.create_logged_model(experiment, f"{name}-{half}")
            client.create_registered_model(f"{name}-{half}")


@pytest.mark.parametrize(
    ("wrong", "proposed"),
    [("cells.v2", "cells-v2"), ("../cells", "cells"), ("größe 3", "gr--e-3"), ("...", "digits-v2")],
)
def test_a_wrong_name_is_refused_with_one_that_is_right(wrong, proposed):
    with pytest.raises(SpecError) as refused:
        check_job({"name": wrong, "data": "rows.csv"})
    (fault,) = refused.value.faults
    assert fault.where == "name"
    assert fault.message.endswith(f"as in {proposed}")
    assert "'.'" not in fault.message
    assert is_allowed(proposed)
