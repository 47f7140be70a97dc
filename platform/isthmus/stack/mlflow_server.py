"""MLflow's server on Postgres and S3: the page, runs, registry, and webhooks to this machine."""

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
# The first request creates the tables.
_FIRST_TIMEOUT_S = 120.0


class MlflowServer(Service):
    """The process that the command `mlflow server` starts.

    The command imports MLflow twice before it starts this process, and starts another process for
    jobs that evaluate language models: 15 s in all, instead of 4 s. It passes its options on in
    variables, whose names a test compares with MLflow's own (`mlflow/server/constants.py`).
    """

    name = "mlflow"
    title = "MLflow"
    requires = ("postgres", "s3")

    def command(self, place: Place) -> list[str]:
        """Returns the command of one process: of several, only one would know a new webhook."""
        return [
            *(sys.executable, "-m", "uvicorn", "mlflow.server.fastapi_app:app"),
            *("--host", HOST, "--port", str(place.ports[self.name]), "--no-access-log"),
        ]

    def environment(self, place: Place) -> Mapping[str, str]:
        """Returns the variables for its stores, and for webhooks to this machine without TLS."""
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
            # Seconds until the server sees a newly registered webhook; MLflow's default is 60.
            "MLFLOW_WEBHOOK_CACHE_TTL": "1",
        }

    def answers(self, place: Place) -> bool:
        """Returns whether the server answers, whatever the state of its stores."""
        return answers(f"{self.address(place)}/health", _TIMEOUT_S)

    def becomes_ready(self, place: Place) -> bool:
        """Returns whether it can read its stores; creates their tables before clients connect."""
        if not self.answers(place):
            return False
        api = f"{self.address(place)}/api/2.0/mlflow"
        return answers(f"{api}/experiments/get?experiment_id=0", _FIRST_TIMEOUT_S) and answers(
            f"{api}/registered-models/search?max_results=1", _FIRST_TIMEOUT_S
        )

    def client_environment(self, place: Place) -> Mapping[str, str]:
        """Returns the variable by which MLflow's clients find the server."""
        return {"MLFLOW_TRACKING_URI": self.address(place)}
