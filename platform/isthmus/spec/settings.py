"""Where this machine's stores are: read from the environment, so that job files never change.

On a laptop nothing is set and all is local. A team sets the variables of the servers it has.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from isthmus.errors import UsageError
from isthmus.spec.model import SpecModel


class Settings(SpecModel):
    """Addresses of the stores, resolved from the environment."""

    home: Path
    """`ISTHMUS_HOME`: checkpoints, logs and cached pairs; by default `.isthmus` in this folder."""
    tracking_uri: str
    """`MLFLOW_TRACKING_URI`; by default MLflow's own default, `mlflow.db` in this folder."""
    storage_path: str
    """`ISTHMUS_STORAGE`: checkpoints, local or `s3://`; by default `runs` in the home."""
    ray_address: str | None
    """`RAY_ADDRESS`; by default Ray is started in this process and ends with it."""
    require_gate: bool = False
    """`ISTHMUS_REQUIRE_GATE=1`: a champion that the gate has not let is not loaded as champion."""

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, folder: Path | None = None
    ) -> Settings:
        """Reads the settings; `folder` (by default the current one) is where local stores go.

        Raises:
            UsageError: If `ISTHMUS_REQUIRE_GATE` is neither 0 nor 1. Or if no MLflow server is
                named where an embedded store would be lost: a job that was submitted to a cluster
                runs in a folder that is thrown away (`ISTHMUS_EMBEDDED=refuse`).
        """
        environment = os.environ if environment is None else environment
        if environment.get("ISTHMUS_EMBEDDED") == "refuse":
            _refuse_embedded(environment)
        folder = (folder or Path.cwd()).absolute()
        home = Path(environment.get("ISTHMUS_HOME") or folder / ".isthmus").absolute()
        return cls(
            home=home,
            tracking_uri=_absolute_sqlite(
                environment.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db", folder
            ),
            storage_path=environment.get("ISTHMUS_STORAGE") or str(home / "runs"),
            ray_address=environment.get("RAY_ADDRESS") or None,
            require_gate=_is_on("ISTHMUS_REQUIRE_GATE", environment),
        )

    @property
    def log_file(self) -> Path:
        """Where Ray's, MLflow's and our own log lines go."""
        return self.home / "logs" / "isthmus.log"

    @property
    def cache(self) -> Path:
        """Where downloaded pairs are kept."""
        return self.home / "cache"

    @property
    def local_artifact_root(self) -> str | None:
        """Where an embedded MLflow puts artifacts: `mlruns` beside its database.

        Returns:
            `None` if MLflow is a server, which knows its own root.
        """
        if not self.tracking_uri.startswith("sqlite:///"):
            return None
        return str(Path(self.tracking_uri.removeprefix("sqlite:///")).parent / "mlruns")


def _is_on(name: str, environment: Mapping[str, str]) -> bool:
    value = environment.get(name) or "0"
    if value not in ("0", "1"):
        raise UsageError(f'{name}="{value}" is neither 0 nor 1; set it to 1, or unset it')
    return value == "1"


def _refuse_embedded(environment: Mapping[str, str]) -> None:
    for name, example in (
        ("MLFLOW_TRACKING_URI", "http://HOST:5000"),
        ("ISTHMUS_STORAGE", "s3://BUCKET/runs, or a folder that all hosts share"),
    ):
        if not environment.get(name):
            raise UsageError(
                f"{name} is not set on the cluster, so the job's results would be lost with its "
                f"folder; set it for the cluster's processes, or submit with --env {name}=VALUE "
                f"({example})"
            )


def _absolute_sqlite(uri: str, folder: Path) -> str:
    # A relative path in the URI would name another database in each process that changes folder,
    # as Ray's workers do.
    if not uri.startswith("sqlite:///"):
        return uri
    return f"sqlite:///{folder / uri.removeprefix('sqlite:///')}"
