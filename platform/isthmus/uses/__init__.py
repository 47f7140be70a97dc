"""The downstream jobs, which put a trained pair to work; each file is one, found by its stem.

To add a job, add one file. Its class says what the job does, what comes out, and its options; it
then is a command, a method of a loaded pair, may run on a cluster, and is covered by the contract
tests, with no list to edit. This file, `uses/reconstruction_error.py`, is a whole job:

    class ReconstructionError(RowsUse):
        \"\"\"How far each row is from its reconstruction.\"\"\"

        SUMMARY = "Write the mean squared error of the reconstruction of every row."
        EXAMPLE = "isthmus reconstruction-error --model digits@champion new.npz errors.csv"
        DOING, DONE = "reconstructing", "reconstructed"
        OUTPUT = TableOutput()

        def apply(self, pair, block, on_rows):
            made = pair.reconstruct(block.values, on_rows=on_rows, as_read=True)
            errors = (made - block.values).reshape(len(made), -1)
            return {"reconstruction_error": (errors**2).mean(axis=1)}

    isthmus reconstruction-error --model digits@champion new/ s3://bucket/errors.csv
    isthmus.load("digits@champion").reconstruction_error("new/", "errors.csv")

- What comes out is `OUTPUT`: `TableOutput()` for columns of the job's own beside what names each
  row, `RowsOutput()` for rows in the form of the input, or a subclass of `OutputSchema` for
  another form.
- Options of its own are the fields of a nested class `Config(SpecModel)`, each with its help
  beneath it; the job finds their values in `self.config`. A field must be of a type that a command
  line can give.
- A job that does not work block by block is a subclass of `Use` and says what it does in `work`, as
  `detect` does.
- A job whose output `isthmus report` makes a page of says `HAS_REPORT = True`; values further out
  than usual are let be with `MAY_LEAVE`.
- What needs all rows at once is refused for parts in `check_parts`; numbers that are to be summed
  over parts are fields of its result that `COUNTS` names.
"""

from __future__ import annotations

from typing import cast

from isthmus import plugins
from isthmus.execution.use import Use


def names() -> tuple[str, ...]:
    """Returns the names of all downstream jobs, sorted."""
    return plugins.names_in(__file__)


def get(name: str) -> type[Use]:
    """Returns the downstream job of that name."""
    return cast("type[Use]", plugins.load(__name__, name, Use))
