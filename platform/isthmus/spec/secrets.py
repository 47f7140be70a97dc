"""Passwords within URLs: kept by this process, and never by a spec, a run or a message."""

from __future__ import annotations

import re

_PASSWORD = re.compile(
    r"^(?P<start>[a-z][a-z0-9+]*://[^/@:]*):(?P<password>[^/@]*)@", re.IGNORECASE
)
_known: dict[str, str] = {}


def without_password(url: str) -> str:
    """Returns a URL without the password in it, which this process remembers for `with_password`.

    Texts that are no URL with a password are returned as they are.
    """
    found = _PASSWORD.match(url)
    if found is None:
        return url
    bare = f"{found['start']}@{url[found.end() :]}"
    _known[bare] = found["password"]
    return bare


def with_password(url: str) -> str:
    """Returns a URL with the password that this process knows for it, if it knows one."""
    password = _known.get(url)
    if password is None:
        return url
    start, _, rest = url.partition("@")
    return f"{start}:{password}@{rest}"
