"""References to a pair: `digits@champion`, `digits/3`, or `digits` for its champion."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isthmus.errors import ModelNotFound

if TYPE_CHECKING:
    from isthmus.bundle.manifest import Half

CHAMPION = "champion"
# No store holds a version of ten digits: Postgres has four bytes for it.
_PATTERN = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:@(?P<alias>[A-Za-z0-9_-]+)|/(?P<version>[0-9]{1,9}))?"
)


@dataclass(frozen=True)
class Reference:
    """A pair's name together with a version or an alias.

    Attributes:
        name: The pair's name. Its halves are registered as NAME-encoder and NAME-decoder.
        version: The encoder's version, or `None` if the reference is by alias.
        alias: The encoder's alias, or `None` if the reference is by version.
    """

    name: str
    version: int | None
    alias: str | None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parses `NAME@ALIAS`, `NAME/VERSION` or `NAME`.

        Raises:
            ModelNotFound: If the text is none of them.
        """
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise ModelNotFound(
                f'"{text}" names no model; write NAME@ALIAS, NAME/VERSION or NAME, '
                "as in digits@champion or digits/3"
            )
        version = match["version"]
        if version is not None:
            return cls(match["name"], int(version), None)
        return cls(match["name"], None, match["alias"] or CHAMPION)

    def __str__(self) -> str:
        return f"{self.name}/{self.version}" if self.version else f"{self.name}@{self.alias}"


def check_name(name: str) -> None:
    """Checks that a text is a pair's name, without a version or an alias.

    Raises:
        ModelNotFound: If it is not.
    """
    if Reference.parse(name).name != name:
        raise ModelNotFound(f'"{name}" is more than a name; leave out what follows it')


def half_name(name: str, half: Half) -> str:
    """Returns the name of the registered model of a pair's encoders or decoders."""
    return f"{name}-{half}"


def encoder_name(name: str) -> str:
    """Returns the name of the registered model of a pair's encoders."""
    return half_name(name, "encoder")


def decoder_name(name: str) -> str:
    """Returns the name of the registered model of a pair's decoders."""
    return half_name(name, "decoder")
