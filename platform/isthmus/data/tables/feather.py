"""Arrow's own file format, which is called Feather too."""

from __future__ import annotations

import pyarrow.dataset as ds

from isthmus.data.tables._files import TypedFile


class Feather(TypedFile):
    """An Arrow file. Source: https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format."""

    ENDINGS = (".feather", ".arrow")

    def file_format(self) -> ds.FileFormat:
        """Returns pyarrow's format."""
        return ds.IpcFileFormat()
