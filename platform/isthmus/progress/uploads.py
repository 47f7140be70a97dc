"""Uploads of checkpoints to their store during training, with or without Ray Train."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.progress.storage import CheckpointStorage

if TYPE_CHECKING:
    from ray.train import Checkpoint


class CheckpointUploads:
    """Stores checkpoints in a background thread, so that training does not wait for the store.

    Of the checkpoints that wait, only the newest is stored. The end of the `with` block waits for
    it, with the retries of `CheckpointStorage`; if the block raises, it does not wait.
    """

    def __init__(self, storage: Callable[[], CheckpointStorage]) -> None:
        """Creates the uploads; the first checkpoint starts the thread.

        Args:
            storage: Returns the storage; it is called in the thread, once there is a checkpoint.
        """
        self._storage = storage
        self._changed = threading.Condition()
        self._waiting: _Copy | None = None
        self._is_busy = False
        self._is_closed = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def keep(self, folder: Path) -> None:
        """Copies a checkpoint, to be stored soon; the folder may be removed afterwards.

        Raises:
            TrainingError: If an earlier checkpoint could not be stored.
        """
        copy = _Copy(folder)
        with self._changed:
            self._raise_error()
            self._replace_waiting(copy)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="isthmus-checkpoints", daemon=True
                )
                self._thread.start()

    def flush(self) -> None:
        """Waits until the newest checkpoint is stored.

        Raises:
            TrainingError: If it cannot be stored.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._error is not None or (self._waiting is None and not self._is_busy)
            )
            self._raise_error()

    def __enter__(self) -> CheckpointUploads:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            with self._changed:
                self._is_closed = True
                self._replace_waiting(None)

    def _run(self) -> None:
        try:
            while self._wait():
                storage = self._storage()
                storage.patiently(lambda: self._keep_newest(storage))  # noqa: B023 (called here)
                with self._changed:
                    self._is_busy = False
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 (raised in the thread that trains)
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _wait(self) -> bool:
        """Waits for a checkpoint or the end of the block; returns whether there is a checkpoint."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._is_closed)
            self._is_busy = self._waiting is not None
            return self._is_busy

    def _keep_newest(self, storage: CheckpointStorage) -> None:
        with self._changed:
            copy, self._waiting = self._waiting, None
        if copy is None:
            return  # it was removed when the block ended
        try:
            storage.try_to_keep(copy.folder)
        except BaseException:
            with self._changed:
                if self._waiting is None and not self._is_closed:
                    self._waiting = copy
                else:
                    copy.remove()
            raise
        copy.remove()

    def _replace_waiting(self, copy: _Copy | None) -> None:
        if self._waiting is not None:
            self._waiting.remove()
        self._waiting = copy
        self._changed.notify_all()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


class _Copy:
    """A copy of a checkpoint, which nothing else removes.

    Attributes:
        folder: The folder of the copy.
    """

    def __init__(self, folder: Path) -> None:
        self._owned = tempfile.TemporaryDirectory(prefix="isthmus-upload-")
        self.folder = Path(self._owned.name)
        copy_checkpoint(folder, self.folder)

    def remove(self) -> None:
        """Removes the copy."""
        self._owned.cleanup()


def copy_checkpoint(
    folder: Path, copy: Path, is_wanted: Callable[[Path], bool] = lambda _: True
) -> None:
    """Copies a checkpoint's files into an existing folder, as hard links where possible.

    Args:
        folder: The folder of the checkpoint.
        copy: The folder that its files are copied to.
        is_wanted: Returns whether a file is to be copied.
    """
    for path in folder.rglob("*"):
        if not path.is_file() or not is_wanted(path):
            continue
        copied = copy / path.relative_to(folder)
        copied.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, copied)  # a written checkpoint is never changed
        except OSError:
            shutil.copyfile(path, copied)


def upload_patiently(storage: CheckpointStorage, checkpoint: Checkpoint, name: str) -> Checkpoint:
    """Stores a checkpoint as Ray would, and retries while the store is unreachable.

    With its first argument bound it is a `checkpoint_upload_fn` for `ray.train.report`. It must be
    called in a worker of Ray Train, in any thread.

    Args:
        storage: The storage of the run's checkpoints.
        checkpoint: The checkpoint, in a local folder.
        name: The name that Ray gives to the checkpoint's folder in the run's folder.

    Raises:
        TrainingError: As in `CheckpointStorage.patiently`.
    """
    from ray import train as ray_train

    ray_storage = ray_train.get_context().get_storage()
    persisted: Checkpoint = storage.patiently(
        lambda: ray_storage.persist_current_checkpoint(checkpoint, name)
    )
    return persisted
