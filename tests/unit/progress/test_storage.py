"""Checkpoints reach a store that is away for a while, and training does not wait for it."""

from __future__ import annotations

import errno
import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from isthmus.errors import TrainingError
from isthmus.progress import checkpoints
from isthmus.progress import storage as storage_module
from isthmus.progress.checkpoints import Progress
from isthmus.progress.storage import CheckpointStorage
from isthmus.progress.uploads import CheckpointUploads

AWAY = (
    "When testing for existence of bucket 'b': AWS Error NETWORK_CONNECTION during HeadBucket "
    "operation: curlCode: 7, Could not connect to server; Details: Failed to connect to 127.0.0.1"
)
RUN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_module, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(storage_module, "_LONGEST_PAUSE_S", 0.05)


@dataclass(frozen=True)
class Store(CheckpointStorage):
    """A store on S3 that fails as it is told to.

    Attributes:
        kept: Epochs of the checkpoints that it took.
        error: The error that it raises until it is taken away.
        tried: The epochs of the checkpoints that it was asked to take.
        threads: The threads that asked it.
    """

    storage_path: str = "s3://b/runs"
    run_name: str = RUN
    kept: list[int] = field(default_factory=list)
    error: list[Exception] = field(default_factory=list)
    tried: list[int] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    def try_to_keep(self, folder: Path) -> None:
        epochs = checkpoints.read_progress(folder).epochs
        self.tried.append(epochs)
        self.threads.add(threading.get_ident())
        if self.error:
            raise self.error[0]
        self.kept.append(epochs)


def checkpoint(folder: Path, epochs: int) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / checkpoints.LAST).write_bytes(b"weights")
    best = {"weight": torch.full((2,), float(epochs))}
    checkpoints.write_best(folder, best)
    checkpoints.write_progress(folder, Progress(epochs=epochs))
    return folder


def wait_until(is_so) -> None:
    while not is_so():  # pytest's own timeout ends what never is
        time.sleep(0.005)


def test_a_checkpoint_replaces_the_earlier_ones(tmp_path):
    storage = CheckpointStorage(str(tmp_path / "runs"), RUN)
    for epochs in (1, 3, 3, 2):
        storage.keep(checkpoint(tmp_path / "made", epochs))
        with storage.last() as folder:
            assert checkpoints.read_progress(folder).epochs == epochs
        assert len(list((tmp_path / "runs" / RUN).iterdir())) == 1


def test_the_whole_checkpoint_stays_while_the_same_epoch_is_kept_again(tmp_path, monkeypatch):
    from pyarrow import fs

    storage = CheckpointStorage(str(tmp_path / "runs"), RUN)
    made = checkpoint(tmp_path / "made", 3)
    storage.keep(made)
    with monkeypatch.context() as disk:
        disk.setattr(fs, "copy_files", _raise(OSError(errno.ENOSPC, "full")))
        with pytest.raises(TrainingError):
            storage.keep(made)
    with storage.last() as folder:
        assert folder is not None
        assert checkpoints.read_progress(folder).epochs == 3


def _raise(error: Exception):
    def raising(*arguments: object, **options: object) -> None:
        raise error

    return raising


def test_a_store_that_is_away_is_asked_again_and_said_once(tmp_path, caplog):
    store = Store(error=[OSError(AWAY)])
    threading.Timer(0.3, store.error.clear).start()
    with caplog.at_level(logging.WARNING, logger="isthmus"):
        store.keep(checkpoint(tmp_path / "made", 4))
    assert store.kept == [4]
    assert len(store.tried) > 2
    (said,) = caplog.messages
    assert said.startswith("s3://b/runs cannot be used now (NETWORK_CONNECTION: Failed to connect")
    assert "tried again for 10 min" in said


def test_training_goes_on_while_the_store_is_away_and_the_newest_checkpoint_is_kept(tmp_path):
    store = Store(error=[OSError(AWAY)])
    with CheckpointUploads(lambda: store) as uploads:
        for epochs in range(1, 6):
            uploads.keep(checkpoint(tmp_path / "made", epochs))
            wait_until(lambda number=epochs: number in store.tried)
        store.error.clear()
    assert store.kept == [5]
    assert threading.get_ident() not in store.threads


def test_what_was_handed_over_may_be_changed_and_removed(tmp_path):
    store = Store(error=[OSError(AWAY)])
    made = checkpoint(tmp_path / "made", 1)
    with CheckpointUploads(lambda: store) as uploads:
        uploads.keep(made)
        for path in made.iterdir():
            path.unlink()
        made.rmdir()
        store.error.clear()
        uploads.flush()
        assert store.kept == [1]


def test_no_copy_of_a_checkpoint_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(storage_module.tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    store = Store(error=[OSError(AWAY)])
    with CheckpointUploads(lambda: store) as uploads:
        for epochs in (1, 2, 3):
            uploads.keep(checkpoint(tmp_path / "made", epochs))
            time.sleep(0.02)
        store.error.clear()
    wait_until(lambda: not list((tmp_path / "temporary").iterdir()))


def test_a_store_that_stays_away_ends_training_in_a_line_that_says_how_to_go_on(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(storage_module, "_PATIENCE_S", 0.2)
    store = Store(error=[OSError(AWAY)])
    said = (
        r"^no checkpoint can be kept: s3://b/runs cannot be used \(NETWORK_CONNECTION: Failed to "
        r"connect to 127\.0\.0\.1\); check it, then go on with isthmus train --resume 01234567$"
    )
    with pytest.raises(TrainingError, match=said), CheckpointUploads(lambda: store) as uploads:
        uploads.keep(checkpoint(tmp_path / "made", 1))
    with pytest.raises(TrainingError, match=said):
        store.keep(tmp_path / "made")
    with pytest.raises(TrainingError, match=said):
        uploads.keep(tmp_path / "made")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError("AWS Error ACCESS_DENIED during HeadBucket operation: No response body."),
            'bucket "b" refuses these credentials (ACCESS_DENIED); check AWS_ACCESS_KEY_ID, ',
        ),
        (
            OSError("Bucket 'b' not found. To create buckets, enable the allow_bucket_creation"),
            'there is no bucket "b"; make it, or set ISTHMUS_STORAGE to another, then go on with',
        ),
    ],
    ids=["credentials", "bucket"],
)
def test_what_no_other_try_would_mend_is_said_at_once(tmp_path, error, said):
    store = Store(error=[error])
    with pytest.raises(TrainingError) as caught, CheckpointUploads(lambda: store) as uploads:
        uploads.keep(checkpoint(tmp_path / "made", 1))
    assert said in str(caught.value)
    assert "isthmus train --resume 01234567" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert store.tried == [1]


def test_a_full_disk_is_said_at_once(tmp_path):
    store = Store(storage_path="/data/runs", error=[OSError(errno.ENOSPC, "write")])
    with pytest.raises(TrainingError) as caught:
        store.keep(checkpoint(tmp_path / "made", 1))
    assert str(caught.value) == (
        "no checkpoint can be kept: /data/runs cannot be used (No space left on device); free its "
        "disk, then go on with isthmus train --resume 01234567"
    )
    assert store.tried == [1]


def test_a_store_that_is_away_when_a_run_is_resumed_is_asked_again_for_a_minute(monkeypatch):
    monkeypatch.setattr(storage_module, "_READING_PATIENCE_S", 0.2)
    store = Store()
    monkeypatch.setattr(Store, "_fetch", _raise(OSError(AWAY)))
    with pytest.raises(TrainingError, match="no checkpoint can be read: s3://b/runs"):
        store.last().__enter__()


def test_a_block_that_raises_does_not_wait_for_the_store(tmp_path):
    answers = threading.Event()

    class Slow(Store):
        def try_to_keep(self, folder: Path) -> None:
            answers.wait()
            super().try_to_keep(folder)

    before = {*threading.enumerate()}
    store = Slow(error=[OSError(AWAY)])
    uploads = CheckpointUploads(lambda: store)
    uploads.keep(checkpoint(tmp_path / "made", 1))
    # A block that waited would do so for ever, for nothing answers before it has ended.
    with pytest.raises(ZeroDivisionError), uploads:
        _ = 1 / 0
    answers.set()
    wait_until(lambda: {*threading.enumerate()} <= before)
    assert len(store.tried) <= 1, "nor is it asked for ever"


def test_uploads_of_which_nothing_was_wanted_ask_for_no_storage():
    with CheckpointUploads(lambda: pytest.fail("asked")) as uploads:
        uploads.flush()
