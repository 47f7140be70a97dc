from __future__ import annotations

import pytest

from isthmus.errors import SpecError, UsageError
from isthmus.spec import JobSpec
from isthmus.tracking import RunLog, find_run


@pytest.fixture
def finished(spec, settings, plan) -> RunLog:
    log = RunLog.start(spec, settings)
    log.log_storage("/checkpoints")
    log.log_data("ab" * 32, {"train": 80, "validation": 10, "test": 10}, plan, spec.data)
    log.finish()
    return log


def test_a_run_is_found_by_its_id_the_beginning_of_it_and_its_name(finished, settings, spec):
    found = [
        find_run(ref, settings) for ref in (finished.run_id, finished.run_id[:8], finished.name)
    ]
    assert found[0] == found[1] == found[2]
    assert found[0].run_id == finished.run_id
    assert found[0].status == "FINISHED"
    assert found[0].attempt == 1
    assert found[0].fingerprint == "ab" * 32
    assert found[0].storage_path == "/checkpoints"
    assert JobSpec.model_validate(found[0].job) == spec


def test_an_unknown_name_shows_the_nearest_and_the_newest(finished, settings):
    said = f'did you mean "{finished.name}"\\? newest first there are: '
    with pytest.raises(UsageError, match=said):
        find_run(f"{finished.name}x", settings)


def test_a_beginning_that_two_runs_share_is_refused_with_both(
    settings, client, spec, new_experiment
):
    experiment_id = new_experiment(spec.name)
    runs = [
        client.create_run(experiment_id, run_name="twin", tags={"isthmus.job": "digits"})
        for _ in range(2)
    ]
    with pytest.raises(UsageError, match='"twin" means 2 runs: ') as caught:
        find_run("twin", settings)
    assert all(run.info.run_id[:8] in str(caught.value) for run in runs)


def test_a_run_of_another_program_is_not_found(settings, client, spec, new_experiment):
    run = client.create_run(new_experiment(spec.name), run_name="not-ours")
    for reference in ("not-ours", run.info.run_id):
        with pytest.raises(UsageError, match="no run"):
            find_run(reference, settings)


def test_a_run_without_its_job_says_so(settings, client, spec, new_experiment):
    client.create_run(new_experiment(spec.name), run_name="no-job", tags={"isthmus.job": "digits"})
    with pytest.raises(UsageError, match=r"has no job\.yaml"):
        find_run("no-job", settings)


def test_a_job_that_stands_for_billions_of_values_is_refused(settings, client, finished):
    nested = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    client.log_text(finished.run_id, "\n".join(["a0: &a0 [x]", *nested]), "job.yaml")
    with pytest.raises(SpecError, match="holds more than 50,000 values"):
        find_run(finished.run_id, settings)


def test_a_quote_in_a_reference_is_no_query(settings, client):
    with pytest.raises(UsageError, match="no run"):
        find_run("x' or run_id != '", settings)
