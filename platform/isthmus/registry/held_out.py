"""Stores the sample of a pair's held-out rows with its run, and fetches it, verified."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.bundle.held_out import (
    HELD_OUT_FILE,
    HELD_OUT_FOLDER,
    HeldOutRecord,
    HeldOutSample,
    read_held_out,
    write_held_out,
)
from isthmus.bundle.manifest import PairManifest
from isthmus.data import sha256_of
from isthmus.errors import RegistryError
from isthmus.spec import Settings
from isthmus.tracking.store import check_reachable

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def store_held_out(
    client: MlflowClient, run_id: str, sample: HeldOutSample, folder: Path
) -> HeldOutRecord:
    """Uploads a sample as an artifact of a run; the same sample again changes nothing.

    Args:
        client: The client of the store.
        run_id: The id of the pair's run.
        sample: The sample.
        folder: A temporary folder, in which the file is written first.

    Returns:
        What `pair.json` is to say about it.
    """
    file = write_held_out(sample, folder)
    client.log_artifact(run_id, str(file), HELD_OUT_FOLDER)
    return HeldOutRecord(sha256=sha256_of(file), rows=len(sample.rows), others=len(sample.others))


def fetch_held_out(manifest: PairManifest, settings: Settings) -> HeldOutSample | None:
    """Fetches the sample of a pair's held-out rows. No copy of it is left on this machine.

    Returns:
        The sample; `None` if the pair was registered without one.

    Raises:
        RegistryError: If the sample is missing or damaged, or the store does not answer.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    record = manifest.held_out
    if record is None:
        return None
    path = f"{HELD_OUT_FOLDER}/{HELD_OUT_FILE}"
    what = f"the held-out rows of pair {manifest.pair_id} ({path} of run {manifest.run_id[:8]})"
    with tempfile.TemporaryDirectory(prefix="isthmus-held-out-") as folder:
        try:
            found = download_artifacts(
                run_id=manifest.run_id,
                artifact_path=path,
                dst_path=folder,
                tracking_uri=settings.tracking_uri,
            )
            file = Path(found)
            sha256 = sha256_of(file)
        except (MlflowException, OSError) as error:
            check_reachable(settings.tracking_uri)
            raise RegistryError(
                f"{what} are missing; restore the artifact, or train the pair again"
            ) from error
        if sha256 != record.sha256:
            raise RegistryError(
                f"{what} are damaged: the sha256 is {sha256[:12]}..., and pair.json says "
                f"{record.sha256[:12]}...; restore the artifact, or train the pair again"
            )
        return read_held_out(file)
