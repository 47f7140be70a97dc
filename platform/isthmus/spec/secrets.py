"""Passwords within URLs: kept by this process, and never by a spec, a run or a message."""

from __future__ import annotations

import re

# Up to the last @, since a password may have a slash, a question mark or an @ of its own.
_PASSWORD = re.compile(
    r"^(?P<start>[a-z][a-z0-9+]*://[^/@:?]*):(?P<password>.*)@", re.IGNORECASE | re.DOTALL
)
_IN_QUERY = re.compile(r"(?<=[?&])(password|passfile|sslpassword)=[^&]*&?", re.IGNORECASE)
_known: dict[str, str] = {}


def without_password(url: str) -> str:
    """Returns a URL without the passwords in it, which this process remembers for `with_password`.

    Texts that are no URL with a password are returned as they are.
    """
    if "://" not in url:
        return url
    bare = _PASSWORD.sub(r"\g<start>@", url)
    bare = _IN_QUERY.sub("", bare).rstrip("?&") if "?" in bare else bare
    if bare != url:
        _known[bare] = url
    return bare


def with_password(url: str) -> str:
    """Returns a URL as it was given to this process, with the password if it had one."""
    return _known.get(url, url)


def has_ambiguous_password(url: str) -> bool:
    """Returns whether it cannot be told where the password in a URL ends."""
    found = _PASSWORD.match(url)
    return found is not None and any(sign in found["password"] for sign in "@?")
