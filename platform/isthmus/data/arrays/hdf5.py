"""HDF5: a file of named arrays; needs `pip install isthmus[arrays]`."""

from __future__ import annotations

from isthmus.data.arrays import (
    ArrayFormat,
    LoadedArray,
    checked,
    checked_labels,
    chosen_key,
    refuse_absent_labels,
)
from isthmus.errors import DataError


class Hdf5(ArrayFormat):
    """An HDF5 file. `data.key` is the path of the array within it. Source: https://docs.h5py.org."""

    ENDINGS = (".h5", ".hdf5")

    def open(self, key: str | None, labels: str | None) -> LoadedArray:
        """Opens an array; see `ArrayFormat.open`."""
        try:
            import h5py
        except ImportError:
            raise DataError(f"{self.name}: reading HDF5 needs h5py: pip install h5py") from None
        try:
            file = h5py.File(self.path, "r")
            found: list[str] = []
            file.visititems(
                lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None
            )
            key = chosen_key(found, key, labels, self.name)
            values = checked(file[key], f'{self.name}: array "{key}"')
            if labels is None:
                return LoadedArray(values, key)
            refuse_absent_labels(found, labels, self.name)
            checked_labels(file[labels].shape, labels, values.shape[0], self.name)
            return LoadedArray(values, key, file[labels][:].reshape(-1))
        except OSError as error:
            said = str(error).splitlines()[0]
            raise DataError(f"{self.name}: is damaged or no HDF5 file ({said})") from error
