"""The dial `size` in commands and in runs: what it was resolved to is shown and recorded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import isthmus as package
from isthmus.errors import SpecError
from isthmus.jobs.specs import check_job
from isthmus.spec import Settings
from isthmus.tracking import open_store
from tests.conftest import Command

JOB = "{name: sized, size: small, data: rows.npy, net: dense, training: {epochs: 1}}"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", load_digits().images[:300].astype(np.float32))
    Path("job.yaml").write_text(JOB)
    return tmp_path


def test_validate_shows_what_a_size_was_resolved_to(here: Path, isthmus: Command) -> None:
    said = isthmus("validate", "job.yaml").out.replace("\n", " ")
    assert "size small: dense with" in said
    assert "width_multiplier 0.5, depth 1" in said
    assert "1 epochs, learning rate 0.002" in said
    found = json.loads(isthmus("validate", "job.yaml", "--json").out)
    assert (found["size"], found["epochs"], found["learning_rate"]) == ("small", 1, 0.002)
    assert found["net_options"]["width_multiplier"] == 0.5
    assert found["latent_dim"] == 8
    wrong = isthmus("validate", "job.yaml", "--set", "size=tiny")
    assert "size: 'tiny' is not allowed; use 'small', 'medium' or 'large'" in wrong.err


def test_the_run_and_its_pair_record_what_a_size_was_resolved_to(here: Path) -> None:
    settings = Settings.from_environment({}, here)
    result = package.train("job.yaml", settings=settings)
    params = open_store(settings).get_run(result.run_id).data.params
    assert params["size"] == "small"
    assert params["net.width_multiplier"] == "0.5"
    assert params["training.learning_rate"] == "0.002"
    assert params["latent_dim"] == "8"
    plan = package.load(str(result.pair), settings=settings).manifest.plan
    assert (plan.net.options["depth"], plan.latent_dim) == (1, 8)


def test_a_net_says_what_its_sizes_are(isthmus: Command) -> None:
    assert "width_multiplier 0.5, depth 1" in isthmus("nets", "dense").out
    found = json.loads(isthmus("nets", "dense", "--json").out)
    assert found["sizes"]["large"]["epochs"] == 200


def test_sizes_are_searched_with_the_net_that_auto_chooses() -> None:
    content = {"name": "a", "data": "rows.npy"}
    search = {"tuning": {"search": {"size": {"choice": ["small", "large"]}}}}
    check_job({**content, **search})
    with pytest.raises(SpecError, match="sets the options of net: auto, and this job names a net"):
        check_job({**content, **search, "net": "dense"})
