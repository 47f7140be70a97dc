"""MLflow's registry as our servers read it: the same answers, without reading all versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry import SEARCH_REGISTERED_MODEL_MAX_RESULTS_THRESHOLD
from mlflow.store.model_registry.dbmodels.models import SqlModelVersion, SqlRegisteredModel
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking._model_registry.registry import ModelRegistryStoreRegistry
from sqlalchemy import event

from isthmus.stack.registry_scheme import open_registry_store, registry_uri

VERSIONS = 12


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[SqlAlchemyStore, SqlAlchemyStore]:
    """MLflow's own and ours, on one database with three models."""
    database = f"sqlite:///{tmp_path_factory.mktemp('registry') / 'mlflow.db'}"
    theirs = SqlAlchemyStore(database)
    for name in ("digits", "other", "empty"):
        theirs.create_registered_model(name, [RegisteredModelTag("of", name)], f"All of {name}.")
    for number in range(VERSIONS):
        tags = [ModelVersionTag("number", str(number))]
        theirs.create_model_version("digits", f"s3://b/{number}", None, tags, description="x" * 900)
    theirs.create_model_version("other", "s3://b/of-other", None)
    theirs.transition_model_version_stage("digits", "3", "Staging", False)
    theirs.transition_model_version_stage("digits", "5", "Staging", False)
    theirs.transition_model_version_stage("digits", "4", "Production", False)
    theirs.delete_model_version("digits", str(VERSIONS))
    theirs.set_registered_model_alias("digits", "champion", "2")
    return theirs, open_registry_store(registry_uri(database))


@pytest.fixture
def read() -> Iterator[list[int]]:
    """The versions that are read from a database while a test runs."""
    seen: list[int] = []

    def note(version: SqlModelVersion, _: Any) -> None:
        seen.append(version.version)

    event.listen(SqlModelVersion, "load", note)
    yield seen
    event.remove(SqlModelVersion, "load", note)


def test_a_registered_model_is_what_mlflow_says(stores: Any) -> None:
    theirs, ours = stores
    for name in ("digits", "other", "empty"):
        assert _said(ours.get_registered_model(name)) == _said(theirs.get_registered_model(name))
    newest = ours.get_registered_model("digits").latest_versions
    stages = {version.current_stage: version.version for version in newest}
    assert stages == {"None": VERSIONS - 1, "Staging": 5, "Production": 4}


def test_a_search_is_what_mlflow_says(stores: Any) -> None:
    theirs, ours = stores
    for wanted in (None, "name = 'digits'", "name LIKE '%e%'", "name = 'nobody'"):
        found = [_said(model) for model in ours.search_registered_models(wanted)]
        assert found == [_said(model) for model in theirs.search_registered_models(wanted)]


def test_only_the_newest_of_each_stage_are_read(stores: Any, read: list[int]) -> None:
    _, ours = stores
    ours.get_registered_model("digits")
    assert sorted(read) == [4, 5, VERSIONS - 1]
    read.clear()
    ours.search_registered_models("name = 'digits'")
    assert sorted(read) == [4, 5, VERSIONS - 1]


def test_as_many_models_are_found_at_once_as_mlflow_allows(tmp_path: Path) -> None:
    store = open_registry_store(registry_uri(f"sqlite:///{tmp_path / 'mlflow.db'}"))
    with store.ManagedSessionMaker(read_only=False) as session:
        names = [f"m{number}" for number in range(SEARCH_REGISTERED_MODEL_MAX_RESULTS_THRESHOLD)]
        session.add_all(SqlRegisteredModel(name=name) for name in names)
        session.add_all(SqlModelVersion(name=name, version=7) for name in names)
    found = store.search_registered_models(max_results=len(names))
    assert [model.latest_versions[0].version for model in found] == [7] * len(names)


def test_mlflow_finds_it_by_its_scheme(stores: Any) -> None:
    known = ModelRegistryStoreRegistry()
    known.register_entrypoints()
    _, ours = stores
    found = known.get_store_builder(registry_uri("sqlite:///mlflow.db"))
    assert found is open_registry_store
    with pytest.raises(MlflowException, match="nobody"):
        ours.get_registered_model("nobody")


def _said(model: Any) -> dict[str, Any]:
    """All that MLflow's page is told of a model."""
    versions = [vars(version) for version in model.latest_versions]
    for version in versions:
        version["_tags"] = dict(version["_tags"])
    ordered = sorted(versions, key=lambda version: int(version["_version"]))
    return {**vars(model), "_latest_version": ordered}
