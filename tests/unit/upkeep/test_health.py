"""The doctor finds versions of which something is gone, and stores of another MLflow."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from isthmus.registry import register_pair
from isthmus.spec import Settings
from isthmus.stack import doctor
from isthmus.tracking import open_store
from isthmus.upkeep.health import examine_versions
from tests.untrained import untrained_pair


@pytest.fixture(scope="module")
def lame(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A store with five versions: a whole one, and four that lack something each."""
    settings = Settings.from_environment({}, tmp_path_factory.mktemp("lame"))
    pairs = [register_pair(untrained_pair("lame", settings, seed), settings) for seed in range(5)]
    client = open_store(settings)
    runs = {
        version.version: version.run_id
        for version in client.search_model_versions("name='lame-encoder'")
    }
    source = client.get_model_version("lame-decoder", "1").source.removeprefix("models:/")
    location = client.get_logged_model(source).artifact_location
    shutil.rmtree(Path(location.removeprefix("file://")))
    client.delete_run(runs[2] if 2 in runs else runs["2"])
    client.delete_model_version("lame-decoder", str(pairs[2].decoder_version))
    client.delete_model_version("lame-encoder", str(pairs[3].version))
    return settings


def test_each_version_of_which_something_is_gone_is_named_with_what_to_do(lame):
    health = examine_versions(lame)
    assert health.versions == 4
    said = sorted(health.faults)
    assert len(said) == 4
    assert said[0] == "lame-decoder version 4 has no encoder; delete it in MLflow's page"
    assert said[1].startswith("lame/1: the files of lame-decoder are gone; restore them")
    assert said[2].startswith("lame/2: its run was deleted; mlflow runs restore --run-id ")
    assert said[3] == "lame/3 has no decoder; delete the rest with isthmus delete lame/3"


def test_the_doctor_warns_of_them(lame):
    found = [each for each in doctor.examine(lame) if each.subject == "versions"]
    assert {each.verdict for each in found} == {"warn"}
    assert len(found) == 4


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("451aebb31d03", "of an older MLflow version; back it up, then run: mlflow db upgrade sql"),
        ("ffffffffffff", "of a newer MLflow than the installed"),
    ],
    ids=["older", "newer"],
)
def test_a_store_of_another_mlflow_is_told_in_one_line(lame, tmp_path, revision, said):
    file = tmp_path / "mlflow.db"
    shutil.copy(lame.tracking_uri.removeprefix("sqlite:///"), file)
    with closing(sqlite3.connect(file)) as store, store:
        store.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    settings = Settings.from_environment({}, tmp_path)
    found = {each.subject: each for each in doctor.examine(settings)}
    assert found["MLflow"].verdict == "fail"
    assert said in found["MLflow"].said
    assert "\n" not in found["MLflow"].said
    assert "versions" not in found


def test_the_doctor_creates_no_store(tmp_path):
    settings = Settings.from_environment({}, tmp_path)
    found = {each.subject: each for each in doctor.examine(settings)}
    assert found["versions"].said == "0 registered, all whole"
    assert list(tmp_path.iterdir()) == []
