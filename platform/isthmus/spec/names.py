"""The names that a job, an entry of a file, or a registered model may have."""

from __future__ import annotations

JOB_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"
"""The name of a job. MLflow takes it for an experiment, for runs, and with `-encoder` for a logged
and a registered model; a logged model's name may hold none of `/ : . % " '`."""
ENTRY_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""The name of a schedule, which Prefect takes, or of a model that people have copied with *Promote
model*: registered models may have a dot in their names."""
