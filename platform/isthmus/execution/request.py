"""The options that every downstream job has besides its own."""

from __future__ import annotations

from isthmus.spec import SpecModel


class Request(SpecModel):
    """The options that all downstream jobs share; each is an option of their commands too."""

    force: bool = False
    """Replace an existing output."""
    resample: bool = False
    """Resample sounds to the sample rate of the pair."""
    query: str | None = None
    """The query whose rows are read, if INPUT is a database; by default the trained one."""
    strict: bool = False
    """Stop at a row or a file that cannot be read, instead of setting it aside."""
    device: str = "auto"
    """auto, cpu or gpu; auto is a GPU if there is one."""
    address: str | None = None
    """A Ray cluster that works on a folder or a glob of files; auto is that of this machine."""
    form: str | None = None
    """The form of the parts of a table with --address: parquet or csv; by default that of each
    file."""
