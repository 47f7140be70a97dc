"""MLflow's registry in a database, read at the same cost however many versions a model has.

MLflow returns a registered model with its newest version in each stage, and reads all versions with
all their contents to find those few. It also reads the model whenever an alias or tag is set, to
check whether it is a prompt. At 1,000 versions that doubled the time of either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow.entities.model_registry import RegisteredModel
from mlflow.entities.model_registry.model_version_stages import STAGE_DELETED_INTERNAL
from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import func, select, tuple_

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class RegistryStore(SqlAlchemyStore):  # type: ignore[misc]
    """MLflow's own store, except for how it finds the newest versions of registered models."""

    def get_registered_model(self, name: str) -> RegisteredModel:
        """Returns a registered model with its newest version in each stage.

        Raises:
            MlflowException: If there is no such model.
        """
        with self.ManagedSessionMaker() as session:
            model = self._get_registered_model(session, name, eager=True)
            newest = self._get_latest_versions_for_models(session, [name])
            return model.to_mlflow_entity(preloaded_latest_versions=newest[name])

    def _get_latest_versions_for_models(
        self, session: Session, model_names: list[str]
    ) -> dict[str, list[SqlModelVersion]]:
        """Returns the newest version in each stage, by the model's name."""
        found: dict[str, list[SqlModelVersion]] = {name: [] for name in model_names}
        here = self._get_workspace_clauses(SqlModelVersion)
        newest = (
            select(SqlModelVersion.name, func.max(SqlModelVersion.version))
            .where(
                *here,
                SqlModelVersion.name.in_(model_names),
                SqlModelVersion.current_stage != STAGE_DELETED_INTERNAL,
            )
            .group_by(SqlModelVersion.name, SqlModelVersion.current_stage)
        )
        # Two queries, because in a single one MLflow's way to read the tags would search for the
        # newest versions again.
        those = [tuple(row) for row in session.execute(newest)]
        if those:
            query = (
                select(SqlModelVersion)
                .where(*here, tuple_(SqlModelVersion.name, SqlModelVersion.version).in_(those))
                .options(*self._get_eager_model_version_query_options())
            )
            for version in session.execute(query).scalars():
                found[version.name].append(version)
        return found
