"""The requests and answers between the HTTP door and a replica, as values that need no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

Verb = Literal["detect", "denoise", "embed", "decode"]
"""The operation that a service does with rows, or in the case of `decode` with latents."""
VERBS: tuple[Verb, ...] = get_args(Verb)

PAIR_HEADER = "X-Isthmus-Pair"
"""The header that says which pair answered: its name and version, and its id."""
WARNING_HEADER = "X-Isthmus-Warning"
"""The header with what is strange about the rows, such as values far outside of those trained on.
It is there once for each line."""


@dataclass(frozen=True)
class Asked:
    """A request, as it came.

    Attributes:
        verb: The verb of the request.
        body: The rows, in the form of `content_type`.
        content_type: The media type of the body, in lower case, without parameters.
        accept: The media types that the answer may have, in the order of preference.
        false_alarm_rate: For `detect`, the share of normal rows that may be flagged.
        allow_unseen: For `detect`, whether rows with categories new to the pair are judged by their
            score alone, in which such a value is none of those known.
    """

    verb: Verb
    body: bytes
    content_type: str
    accept: tuple[str, ...] = ()
    false_alarm_rate: float | None = None
    allow_unseen: bool = False


@dataclass(frozen=True)
class Answer:
    """The answer to a request.

    Attributes:
        status: The HTTP status.
        body: The content.
        content_type: The media type.
        pair: The name and version of the pair that answered, and its id.
        rows: The number of rows that were worked on.
        warnings: The warnings about the rows.
        headers: Further headers.
    """

    status: int
    body: bytes
    content_type: str
    pair: str = ""
    rows: int = 0
    warnings: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
