"""The forms of requests and answers: which one it is, and how JSON is read and written.

JSON becomes an array or JSON lines, so that it is read as a file is, with the same checks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import DataError, IsthmusError
from isthmus.serve.media_types import ALIASES, ENDINGS, JSON, NPZ, RECORDS_ENDING

_BY_FIRST_BYTES = ((b"PK\x03\x04", NPZ), (b"\x93NUMPY", "application/x-npy"))
_UNSAID = ("", "application/octet-stream")


class UnknownForm(IsthmusError):
    """The body has a media type that is not read here."""


class NotJson(IsthmusError):
    """The body is not the JSON that was asked for."""


def form_of(content_type: str, body: bytes) -> str:
    """Returns the media type of a body; arrays are known by their first bytes too.

    Raises:
        UnknownForm: If it is none that is read here.
    """
    form = ALIASES.get(content_type, content_type)
    if form in _UNSAID:
        form = next((each for sign, each in _BY_FIRST_BYTES if body.startswith(sign)), form)
    if form not in ENDINGS:
        said = f'the content type "{form}" is' if form else "a body without a content type is"
        raise UnknownForm(f"{said} not read here; send one of {', '.join(ENDINGS)}")
    return form


def answer_form(asked: Sequence[str], form: str, possible: Sequence[str]) -> str:
    """Returns the form of an answer.

    Args:
        asked: The media types that the request accepts, in the order of preference.
        form: The form of the request.
        possible: The forms that the answer can have.

    Returns:
        The first that is accepted and possible, else that of the request, else JSON.
    """
    named = [ALIASES.get(each, each) for each in asked]
    return next((each for each in (*named, form) if each in possible), JSON)


def rows_of_json(body: bytes, folder: Path) -> Path:
    """Writes the rows of a JSON body to a file: an npy of lists, or JSON lines of records.

    Args:
        body: `{"rows": [[1, 2], ...]}` or `{"records": [{"a": 1, "b": 2}, ...]}`, or the list
            alone. A null is a missing value.
        folder: The folder that the file is written to.

    Raises:
        NotJson: If the body is anything else.
        DataError: If the rows are not numbers, or differ in shape.
    """
    content = parsed(body)
    if isinstance(content, dict):
        found = [name for name in ("rows", "records") if name in content]
        if len(found) != 1:
            raise NotJson(
                'an object needs "rows", a list of lists of numbers, or "records", a list of '
                "objects with a value for each column; give one of them"
            )
        content = content[found[0]]
    if not isinstance(content, list) or not content:
        raise DataError("request: holds no rows; give at least one in a list")
    if all(isinstance(each, dict) for each in content):
        path = folder / f"request{RECORDS_ENDING}"
        try:
            lines = "".join(json.dumps(each) + "\n" for each in content)
        except RecursionError as error:
            raise NotJson(f"a record is nested too deeply ({error}); send plain values") from error
        path.write_text(lines, encoding="utf-8")
        return path
    path = folder / "request.npy"
    np.save(path, numbers_of(content, "rows"))
    return path


def parsed(body: bytes) -> Any:
    """Returns the content of a JSON body.

    Raises:
        NotJson: If it is none, or has NaN or infinity in it, which JSON has not.
    """
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise NotJson(f"the body is no JSON ({error}); send a whole JSON text") from error


def numbers_of(content: Any, what: str) -> NDArray[np.float64]:
    """Returns nested lists as an array of float64; null is NaN.

    Raises:
        DataError: If they hold something else, or lists of different lengths.
    """
    try:
        return np.array(content, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"request: {what} are no lists of numbers of equal length ({reason}); send nested "
            "lists of numbers, or records by column"
        ) from error


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """Returns a JSON text; arrays are lists, and numbers that are not finite are null."""
    return json.dumps(
        _plain(content), ensure_ascii=False, separators=(",", ":"), default=str
    ).encode()


def listed(values: NDArray[Any]) -> list[Any]:
    """Returns an array as nested lists; what is masked or not finite is `None`."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        values = np.ma.masked_invalid(values)
    return values.tolist()  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return listed(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON; write null for a missing value")
