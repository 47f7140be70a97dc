"""Where a run's checkpoints lie: a folder of the storage, local or on S3; one folder each."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.training import checkpoints


@dataclass(frozen=True)
class CheckpointStorage:
    """The checkpoints of one run; those that Ray Train wrote are found too.

    Attributes:
        storage_path: A folder, or `s3://`.
        run_name: The run's folder in it.
    """

    storage_path: str
    run_name: str

    def keep(self, folder: Path, epochs: int) -> None:
        """Keeps a checkpoint in place of the earlier ones; it is there whole or not at all."""
        from pyarrow import fs

        files, root = self._open()
        files.create_dir(root)
        earlier = self._checkpoints(files, root)
        place = f"{root}/checkpoint_{epochs:09d}"
        if place in earlier:  # a run that went back to an older one
            files.delete_dir(place)
            earlier.remove(place)
        files.create_dir(place)
        for path in sorted(folder.iterdir(), key=lambda path: path.name == checkpoints.PROGRESS):
            # The progress last: a checkpoint without it is none.
            fs.copy_files(str(path), f"{place}/{path.name}", destination_filesystem=files)
        for old in earlier:
            files.delete_dir(old)

    @contextmanager
    def last(self) -> Iterator[Path | None]:
        """A local copy of the checkpoint that is furthest on; `None` if there is none."""
        from pyarrow import fs

        files, root = self._open()
        found = self._checkpoints(files, root)
        if not found:
            yield None
            return
        with tempfile.TemporaryDirectory(prefix="isthmus-checkpoint-") as name:
            best: tuple[int, Path] | None = None
            for number, place in enumerate(found):
                folder = Path(name) / str(number)
                folder.mkdir()
                fs.copy_files(place, str(folder), source_filesystem=files)
                if (folder / checkpoints.PROGRESS).exists():
                    epochs = checkpoints.read_progress(folder).epochs
                    best = max(best or (0, folder), (epochs, folder))
            yield best[1] if best else None

    def _open(self) -> tuple[Any, str]:
        from pyarrow import fs

        files, path = (
            fs.FileSystem.from_uri(self.storage_path)
            if "://" in self.storage_path
            else (fs.LocalFileSystem(), str(Path(self.storage_path).absolute()))
        )
        return files, f"{path.rstrip('/')}/{self.run_name}"

    @staticmethod
    def _checkpoints(files: Any, root: str) -> list[str]:
        from pyarrow import fs

        selector = fs.FileSelector(root, allow_not_found=True)
        return [
            each.path
            for each in files.get_file_info(selector)
            if each.type == fs.FileType.Directory and each.base_name.startswith("checkpoint_")
        ]
