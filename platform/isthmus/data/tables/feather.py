"""Arrow's own formats: files, which are called Feather too, and streams, as Hugging Face's."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.dataset as ds

from isthmus.data.tables import said_plainly
from isthmus.data.tables._files import TypedFile

_FILE_SIGN = b"ARROW1"


class Feather(TypedFile):
    """An Arrow file or stream. A folder that `datasets.save_to_disk` wrote holds streams.

    Source: https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc.
    """

    ENDINGS = (".feather", ".arrow")

    def file_format(self) -> ds.FileFormat:
        """Returns pyarrow's format."""
        return ds.IpcFileFormat()

    def dataset(self) -> ds.Dataset:
        """Opens the file; a stream is mapped, and not read into memory."""
        with self.path.open("rb") as file:
            is_file = file.read(len(_FILE_SIGN)) == _FILE_SIGN
        if is_file:
            return super().dataset()
        with said_plainly(self.name, self.what):
            return ds.dataset(pa.ipc.open_stream(pa.memory_map(self.address)).read_all())
