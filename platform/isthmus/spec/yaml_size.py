"""Refuses YAML that is larger than any file of ours, before anything is built from it.

A few hundred characters of nested aliases ("billion laughs") stand for billions of values, and a
few thousand brackets exhaust Python's stack. Both are seen in the stream of parser events, which
PyYAML yields without building values and without recursion.
"""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from isthmus.errors import Fault, SpecError

MOST_BYTES = 1 << 20
"""The longest text that is read."""
_MOST_VALUES = 50_000
_MOST_LEVELS = 50


@dataclass
class _Extent:
    """The size of a value once its aliases are written out: all values in it, and its levels."""

    anchor: str | None
    values: int = 1
    levels: int = 1

    def add(self, inner: _Extent) -> None:
        self.values += inner.values
        self.levels = max(self.levels, inner.levels + 1)


def check_size(text: str, source: str) -> None:
    """Refuses a text that is too long, too large with its aliases written out, or too deep.

    Args:
        text: The text, which need not be YAML.
        source: The path of the file, for the message.

    Raises:
        SpecError: If the text is refused.
        yaml.YAMLError: If the text is not YAML.
    """
    if len(text.encode()) > MOST_BYTES:
        raise SpecError(
            [Fault("", f"is longer than {MOST_BYTES >> 20} MiB; give a YAML file of settings")],
            source,
        )
    anchors: dict[str, _Extent] = {}
    open_values = [_Extent(None)]
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        why = None
        if isinstance(event, yaml.CollectionStartEvent):
            open_values.append(_Extent(event.anchor))
        elif isinstance(event, yaml.CollectionEndEvent):
            _close(open_values.pop(), open_values[-1], anchors)
        elif isinstance(event, yaml.ScalarEvent):
            _close(_Extent(event.anchor), open_values[-1], anchors)
        elif isinstance(event, yaml.AliasEvent):
            if any(event.anchor == each.anchor for each in open_values):
                why = f"*{event.anchor} stands within &{event.anchor} itself; write out its values"
            open_values[-1].add(anchors.get(event.anchor or "", _Extent(None)))
        why = why or _refusal(open_values)
        if why:
            line = event.start_mark.line + 1 if event.start_mark else None
            raise SpecError([Fault("", why, line)], source)


def _close(value: _Extent, parent: _Extent, anchors: dict[str, _Extent]) -> None:
    if value.anchor is not None:
        anchors[value.anchor] = value
    parent.add(value)


def _refusal(open_values: list[_Extent]) -> str | None:
    if sum(each.values for each in open_values) > _MOST_VALUES:
        return (
            f"holds more than {_MOST_VALUES:,} values, with its aliases (*name) written out; "
            "give fewer"
        )
    if len(open_values) - 1 + open_values[-1].levels > _MOST_LEVELS + 1:
        return f"is nested more than {_MOST_LEVELS} levels deep; no field of a job needs that"
    return None
