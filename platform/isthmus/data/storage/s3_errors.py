"""Finds the cause of an error of S3 in the text of pyarrow's error, which alone names it."""

from __future__ import annotations

import os
import re
from enum import Enum


class S3Fault(Enum):
    """The cause of an error of S3."""

    NO_BUCKET = "there is no such bucket"
    REFUSED = "the credentials are refused"
    NO_NETWORK = "the store cannot be reached"
    NO_CREDENTIALS = "there are no credentials"
    OTHER = "something else"


# What the user calls things, as "timeout.csv", says nothing.
_NAMES = re.compile(r"\b(key|bucket) '[^']*'")
# The first that is found counts.
_SIGNS = (
    (
        S3Fault.NO_BUCKET,
        re.compile(r"NO_SUCH_BUCKET|Bucket '.*' not found|Path does not exist '[^/']*'$"),
    ),
    (
        S3Fault.REFUSED,
        re.compile(
            r"ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID"
            r"|UNRECOGNIZED_CLIENT|ExpiredToken|HTTP status 40[13]"
        ),
    ),
    (
        S3Fault.NO_NETWORK,
        re.compile(r"NETWORK_CONNECTION|curlCode|REQUEST_TIMEOUT|resolve host|timed? ?out", re.I),
    ),
    (S3Fault.NO_CREDENTIALS, re.compile(r"credentials|MISSING_AUTHENTICATION_TOKEN", re.I)),
)


def fault_of(error: Exception) -> S3Fault:
    """Returns what is wrong."""
    said = _NAMES.sub(r"\1", str(error))
    return next((fault for fault, sign in _SIGNS if sign.search(said)), S3Fault.OTHER)


def reason_of(error: Exception) -> str:
    """Returns the cause of an error in a few words, without the prefix "AWS Error".

    Ray retries if it finds "AWS Error NETWORK_CONNECTION" in a message.
    """
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    found = re.search(r"AWS Error (\w+)(?:.*Details: ([^\n]*))?", str(error), re.DOTALL)
    if found is None:
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"{found[1]}: {found[2]}" if found[2] else found[1]
