"""What the files that a job writes say of where they came from."""

from __future__ import annotations

from datetime import UTC, datetime

from isthmus.data import Provenance
from isthmus.registry import Pair


def provenance_of(pair: Pair, source: str, **extra: object) -> Provenance:
    """The pair, the input, the time, and anything else worth saying."""
    return Provenance(
        pair_id=pair.manifest.pair_id,
        model=pair.reference,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        extra={"input": source, **extra},
    )
