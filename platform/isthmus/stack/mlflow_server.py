"""MLflow on Postgres and S3: the page, the runs, the registry, and webhooks to this machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from isthmus.servers import answers
from isthmus.stack.object_store import BUCKET, ObjectStore
from isthmus.stack.place import HOST, Place
from isthmus.stack.postgres import database_uri
from isthmus.stack.registry_scheme import registry_uri
from isthmus.stack.service import Service

_TIMEOUT_S = 2.0
# The first request makes the tables.
_FIRST_TIMEOUT_S = 120.0


class MlflowServer(Service):
    """The process that `mlflow server` ends up running.

    That command itself imports MLflow twice before it starts this process, and starts another for
    jobs of evaluating language models: 15 s in all, against 4 s. What it passes on is in variables,
    whose names a test compares with MLflow's own (`mlflow/server/constants.py`).
    """

    name = "mlflow"
    title = "MLflow"
    requires = ("postgres", "s3")

    def command(self, place: Place) -> list[str]:
        """The server, in one process: with more, a new webhook would be known to one of them."""
        return [
            *(sys.executable, "-m", "uvicorn", "mlflow.server.fastapi_app:app"),
            *("--host", HOST, "--port", str(place.ports[self.name]), "--no-access-log"),
        ]

    def environment(self, place: Place) -> Mapping[str, str]:
        """Its stores, and that webhooks may go to this machine without TLS."""
        store = database_uri(place)
        return {
            **ObjectStore().client_environment(place),
            "_MLFLOW_SERVER_FILE_STORE": store,
            "_MLFLOW_SERVER_REGISTRY_STORE": registry_uri(store),
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": f"s3://{BUCKET}/mlflow",
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": place.secrets["webhooks"],
            "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
            # How long the server does not see a webhook that was just registered; MLflow's is 60.
            "MLFLOW_WEBHOOK_CACHE_TTL": "1",
        }

    def answers(self, place: Place) -> bool:
        """Whether it is there; says nothing of its stores."""
        return answers(f"{self.address(place)}/health", _TIMEOUT_S)

    def becomes_ready(self, place: Place) -> bool:
        """Whether it answers from its stores; makes their tables before there are others to ask."""
        if not self.answers(place):
            return False
        api = f"{self.address(place)}/api/2.0/mlflow"
        return answers(f"{api}/experiments/get?experiment_id=0", _FIRST_TIMEOUT_S) and answers(
            f"{api}/registered-models/search?max_results=1", _FIRST_TIMEOUT_S
        )

    def client_environment(self, place: Place) -> Mapping[str, str]:
        """Where MLflow's clients find it."""
        return {"MLFLOW_TRACKING_URI": self.address(place)}
