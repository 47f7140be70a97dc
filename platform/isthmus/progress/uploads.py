"""How checkpoints come to their store while training goes on, with Ray Train or without it."""

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
    """Keeps checkpoints in a thread of its own, so that training does not wait for the store.

    Of those that wait the newest is kept. A block that ends waits for it, with the patience of
    `CheckpointStorage`; one that raises does not.
    """

    def __init__(self, storage: Callable[[], CheckpointStorage]) -> None:
        """Args:
        storage: Where they go; asked, in the thread, when the first is to be kept.
        """
        self._storage = storage
        self._changed = threading.Condition()
        self._waiting: _Copy | None = None
        self._is_busy = False
        self._is_closed = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def keep(self, folder: Path) -> None:
        """Copies a checkpoint away, to be kept soon; the folder may then be removed.

        Raises:
            TrainingError: If an earlier one could not be kept.
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
        """Returns when the newest checkpoint is kept.

        Raises:
            TrainingError: If it cannot be kept.
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
        """Waits for a checkpoint; returns whether there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._is_closed)
            self._is_busy = self._waiting is not None
            return self._is_busy

    def _keep_newest(self, storage: CheckpointStorage) -> None:
        with self._changed:
            copy, self._waiting = self._waiting, None
        if copy is None:
            return  # nobody waits for it any more
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
    """A checkpoint's folder that nobody else removes.

    Attributes:
        folder: Where it is.
    """

    def __init__(self, folder: Path) -> None:
        self._owned = tempfile.TemporaryDirectory(prefix="isthmus-upload-")
        self.folder = Path(self._owned.name)
        copy_checkpoint(folder, self.folder)

    def remove(self) -> None:
        """Removes it."""
        self._owned.cleanup()


def copy_checkpoint(
    folder: Path, copy: Path, is_wanted: Callable[[Path], bool] = lambda _: True
) -> None:
    """Copies a checkpoint's files into a folder that is there; where it can, without writing.

    Args:
        folder: The checkpoint.
        copy: Where its files go.
        is_wanted: Says of a file whether it is to be copied.
    """
    for path in folder.rglob("*"):
        if not path.is_file() or not is_wanted(path):
            continue
        copied = copy / path.relative_to(folder)
        copied.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, copied)  # nobody changes a checkpoint that is written
        except OSError:
            shutil.copyfile(path, copied)


def upload_patiently(storage: CheckpointStorage, checkpoint: Checkpoint, name: str) -> Checkpoint:
    """Stores a checkpoint as Ray would, and tries again while the store is away.

    With its first argument given it is a `checkpoint_upload_fn` of `ray.train.report`, to be
    called in a worker of Ray Train, in whichever thread.

    Args:
        storage: Where the run's checkpoints are.
        checkpoint: A local folder.
        name: The folder in the run's own that Ray gives it.

    Raises:
        TrainingError: As `CheckpointStorage.patiently`.
    """
    from ray import train as ray_train

    ray_storage = ray_train.get_context().get_storage()
    persisted: Checkpoint = storage.patiently(
        lambda: ray_storage.persist_current_checkpoint(checkpoint, name)
    )
    return persisted
