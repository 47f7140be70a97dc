"""Commands that only look leave nothing behind, and say where they looked."""

from __future__ import annotations

from pathlib import Path

import pytest

import isthmus as package
from isthmus.errors import UsageError
from isthmus.spec import Settings
from isthmus.tracking import open_store

LOOKING = {
    "lineage of a name": ["lineage", "heron"],
    "lineage of a pair": ["lineage", "heron/1"],
    "lineage of data": ["lineage", "0" * 64],
    "resume": ["train", "--resume", "heron"],
    "finish": ["train", "--finish", "heron"],
    "history": ["history", "heron"],
    "rollback": ["rollback", "heron"],
    "gate": ["gate", "heron/1"],
}


@pytest.mark.parametrize("arguments", LOOKING.values(), ids=LOOKING)
def test_looking_in_an_empty_folder_leaves_it_empty(isthmus, here: Path, arguments: list[str]):
    done = isthmus(*arguments)
    assert done.code == 2
    assert list(here.iterdir()) == []


def test_looking_in_python_leaves_an_empty_folder_empty(here: Path):
    with pytest.raises(UsageError, match=r"nothing was trained in sqlite:.*mlflow\.db"):
        package.lineage("heron")
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("verb", ["lineage", "rollback", "history", "resume", "promote"])
def test_an_empty_store_is_named_where_nothing_is_found(isthmus, here: Path, verb: str):
    open_store(Settings.from_environment())
    arguments = {"resume": ["train", "--resume", "heron"], "promote": ["promote", "heron", "1"]}
    done = isthmus(*arguments.get(verb, [verb, "heron"]))
    assert done.code == 2
    assert f"sqlite:///{here / 'mlflow.db'}" in done.err
    assert '"heron"' in done.err


@pytest.mark.parametrize("verb", ["rollback", "history"])
def test_a_name_that_no_pair_has_is_told_from_one_that_was_never_promoted(
    isthmus, register, settings: Settings, monkeypatch: pytest.MonkeyPatch, verb: str
):
    register("hedron")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    done = isthmus(verb, "heron")
    assert done.code == 2
    assert 'no model "heron"; did you mean "hedron"?' in done.err
