"""numpy's file of one array, which stays in its file until rows are read."""

from __future__ import annotations

import numpy as np

from isthmus.data.arrays import ArrayFormat, LoadedArray, checked
from isthmus.errors import DataError


class Npy(ArrayFormat):
    """An npy file. Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html."""

    ENDINGS = (".npy",)

    def open(self, key: str | None, labels: str | None) -> LoadedArray:
        """Opens the array; see `ArrayFormat.open`."""
        if labels is not None:
            raise DataError(f"{self.name}: an npy holds one array, so no labels; use an npz")
        try:
            # Mapped as a copy on write, so that the file stays as it is.
            array = np.load(self.path, mmap_mode="c", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            if "Python objects" in str(error):
                raise DataError(
                    f"{self.name}: holds Python objects, which are never loaded; save it as numbers"
                ) from error
            if "allow_pickle" in str(error):
                raise DataError(
                    f"{self.name}: is no npy file; write it with numpy.save, as numbers"
                ) from error
            said = str(error).splitlines()[0]
            raise DataError(f"{self.name}: is damaged ({said}); write it again") from error
        return LoadedArray(checked(array, self.name))
