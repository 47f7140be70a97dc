"""Reads the addresses of the stores from the environment, so that job files never change.

On a laptop nothing is set and all is local. A team sets the variables of the servers it has.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from isthmus.errors import UsageError
from isthmus.spec.model import SpecModel

_HOME, _STORE = ".isthmus", "mlflow.db"


class Settings(SpecModel):
    """The addresses of the stores, as the environment gives them."""

    home: Path
    """`ISTHMUS_HOME`: the folder of logs, cached pairs and state; by default `.isthmus` in the
    project's folder: the nearest one upwards that has it, else the current one."""
    tracking_uri: str
    """`MLFLOW_TRACKING_URI`: the MLflow server or database; by default `mlflow.db` in the
    project's folder, as in MLflow."""
    storage_path: str
    """`ISTHMUS_STORAGE`: the place of checkpoints, a folder or `s3://`; by default `runs` in the
    home."""
    ray_address: str | None
    """`RAY_ADDRESS`: the cluster that trains; by default this process starts Ray, and ends it."""
    require_gate: bool = False
    """`ISTHMUS_REQUIRE_GATE=1`: a champion that the gate has not let is not loaded as champion."""

    trust_plugins: bool = False
    """`ISTHMUS_TRUST_PLUGINS=1`: code that is stored with a pair may be run to load it."""

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, folder: Path | None = None
    ) -> Settings:
        """Reads the settings from the environment.

        Args:
            environment: The variables; by default those of this process.
            folder: The folder of local stores; by default that of the project, which is looked for
                from the current folder upwards.

        Raises:
            UsageError: If `ISTHMUS_REQUIRE_GATE` or `ISTHMUS_TRUST_PLUGINS` is neither 0 nor 1.
                Or if no MLflow server is named where an embedded store would be lost: a job that
                was submitted to a cluster runs in a folder that is thrown away
                (`ISTHMUS_EMBEDDED=refuse`).
        """
        environment = os.environ if environment is None else environment
        if environment.get("ISTHMUS_EMBEDDED") == "refuse":
            _refuse_embedded(environment)
        here = (folder or Path.cwd()).absolute()
        project = here if folder is not None else project_folder(here)
        home = Path(environment.get("ISTHMUS_HOME") or project / _HOME).absolute()
        uri = environment.get("MLFLOW_TRACKING_URI")
        return cls(
            home=home,
            tracking_uri=_absolute_sqlite(uri, here) if uri else f"sqlite:///{project / _STORE}",
            storage_path=environment.get("ISTHMUS_STORAGE") or str(home / "runs"),
            ray_address=environment.get("RAY_ADDRESS") or None,
            require_gate=_is_on("ISTHMUS_REQUIRE_GATE", environment),
            trust_plugins=_is_on("ISTHMUS_TRUST_PLUGINS", environment),
        )

    @property
    def log_file(self) -> Path:
        """The file that the log lines of Ray, MLflow and Isthmus are written to."""
        return self.home / "logs" / "isthmus.log"

    @property
    def cache(self) -> Path:
        """The folder of downloaded pairs."""
        return self.home / "cache"

    @property
    def local_artifact_root(self) -> str | None:
        """The folder of an embedded MLflow's artifacts: `mlruns` beside its database.

        It is `None` if MLflow is a server, which has a root of its own.
        """
        if not self.tracking_uri.startswith("sqlite:///"):
            return None
        return str(Path(self.tracking_uri.removeprefix("sqlite:///")).parent / "mlruns")


def project_folder(folder: Path) -> Path:
    """Returns the nearest folder, from the given one upwards, that holds stores of Isthmus.

    If there is none, it is the given one: it becomes a project with the first training. The search
    ends at a folder that everybody may write to, as /tmp is: anybody could put a store there.
    """
    for each in (folder, *folder.parents):
        if each != folder and each.stat().st_mode & stat.S_IWOTH:
            break
        if (each / _HOME).is_dir() or (each / _STORE).is_file():
            return each
    return folder


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
