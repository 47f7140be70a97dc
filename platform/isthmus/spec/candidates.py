"""Puts other values into the fields of a job, and checks those that a search would try."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from math import ceil, floor
from random import Random
from typing import Any

from isthmus.errors import Fault, SpecError
from isthmus.spec.data import DataSpec
from isthmus.spec.job import JobSpec, TrainingSpec
from isthmus.spec.model import SpecModel, former_names
from isthmus.spec.tuning import RangeSpec

Check = Callable[[Mapping[str, Any]], JobSpec]

# Where between two bounds a value is tried: at no simple fraction, so that it is no whole number.
_BETWEEN = 0.4142
# So many whole numbers between two bounds are tried: if half of all are refused, some of these are.
_TRIED_BETWEEN = 6
# Into so many steps a range of whole numbers is divided where a list is proposed instead.
_STEPS_PROPOSED = 8
# A field that holds a thing by its name and options, and the option that a bare value means.
_SHORT_FORMS = {"data": "path", "variant": "name", "net": "name", "start_from": "model"}
# The sections with fields that had other names in earlier versions.
_RENAMED: dict[str, type[SpecModel]] = {"data": DataSpec, "training": TrainingSpec}


def set_field(content: dict[str, Any], name: str, value: object) -> None:
    """Sets the field of a dotted name in a job's content, and adds missing sections above it.

    A value that the content has for the field under another of its names is removed.
    """
    *parents, last = name.split(".")
    place = content
    for parent in parents:
        below = place.get(parent)
        if isinstance(below, str):
            # A short form becomes a section: `variant: vae`, when variant.beta is set.
            below = {_SHORT_FORMS.get(parent, "name"): below}
        elif not isinstance(below, Mapping):
            below = {}
        place[parent] = dict(below)
        place = place[parent]
    place[last] = value
    section = _RENAMED.get(name.rpartition(".")[0])
    for names in former_names(section) if section else ():
        if last in names:
            place.pop(names[1 - names.index(last)], None)


def set_search(content: dict[str, Any], name: str, values: object) -> None:
    """Adds a range to `tuning.search` in a job's content, under the dotted name of its field."""
    tuning = content.get("tuning")
    content["tuning"] = tuning = dict(tuning) if isinstance(tuning, Mapping) else {}
    search = tuning.get("search")
    tuning["search"] = {**(search if isinstance(search, Mapping) else {}), name: values}


def with_values(spec: JobSpec, values: Mapping[str, object]) -> dict[str, Any]:
    """Returns a job's content with other values in some fields, unchecked and without `tuning`.

    Args:
        spec: The job.
        values: The values by dotted name. Another variant or net begins with its own defaults; its
            options may be among the values.
    """
    content = spec.model_dump(mode="json", exclude={"tuning"}, exclude_unset=True)
    # Short names come first, so that `variant` does not replace a `variant.level` set before it.
    for name in sorted(values, key=lambda each: _whole(each).count(".")):
        set_field(content, _whole(name), values[name])
    return content


def searched(spec: JobSpec) -> tuple[str, ...]:
    """Returns the fields that `tuning.search` sets; their values in the job itself are not used."""
    return tuple(_whole(name) for name in spec.tuning.search) if spec.tuning else ()


def as_options(values: Mapping[str, object]) -> list[str]:
    """Returns the values in the form that `--set` takes: `["training.learning_rate=0.002"]`."""
    return [
        f"{_whole(name)}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in values.items()
    ]


def search_faults(spec: JobSpec, check: Check, lines: Mapping[str, int]) -> list[Fault]:
    """Returns the faults of the values that `tuning.search` would try: each choice, both bounds.

    Of a range of whole numbers a few between the bounds are tried too, the same ones every time.

    Args:
        spec: The job, which is valid without its search.
        check: A function that checks the content of a job, and raises `SpecError`.
        lines: The line of each dotted name in the file.
    """
    search = spec.tuning.search if spec.tuning else {}
    faults: dict[tuple[str, str], Fault] = {}
    for name, values in search.items():
        where = f"tuning.search.{name}"
        why = _refusal(spec, name) or _whole_numbers_instead(
            spec, name, values, check, is_in_file=where in lines
        )
        messages = [why] if why else []
        for value in () if messages else values.values:
            messages += _faults_of(spec, name, value, check)
        if not messages:
            why = _list_instead(spec, name, values, check, is_in_file=where in lines)
            messages = [why] if why else []
        for message in messages:
            faults[where, message] = Fault(where, message, lines.get(where))
    return list(faults.values())


def _refusal(spec: JobSpec, name: str) -> str | None:
    assert spec.tuning is not None  # noqa: S101 (it has a search)
    section = name.partition(".")[0]
    if section in ("name", "tuning"):
        return "is the same for all trials; it cannot be searched"
    if name.startswith("training.start_from"):
        return "a search tries what is trained from random weights; leave it out"
    if name == "size" and spec.net.name != "auto":
        return "sets the options of net: auto, and this job names a net; search its options instead"
    if section == "data" and spec.tuning.metric == "auto":
        return (
            "changes the rows or their units, so that trials cannot be compared; run isthmus tune "
            "for each, or set tuning.metric: validation/mse if you know that they can be"
        )
    return None


def _whole_numbers_instead(
    spec: JobSpec, name: str, values: RangeSpec, check: Check, *, is_in_file: bool
) -> str | None:
    """Returns which range to use if a field takes whole numbers and its range draws fractions.

    Both bounds may be whole, and right, where hardly any value between them is.
    """
    kinds = {"uniform": "integer", "log_uniform": "log_integer"}
    if values.kind not in kinds:
        return None
    low, high = values.values
    between = low + _BETWEEN * (high - low)
    first, last = ceil(low), floor(high)
    if first > last or _faults_of(spec, name, first, check):
        return None
    if not _faults_of(spec, name, between, check):
        return None
    kind, bounds = (kinds[values.kind], [first, last]) if first < last else ("choice", [first])
    whole = RangeSpec.model_validate({kind: bounds})
    if _refused_between(spec, name, whole, check):
        kind, bounds = "choice", _valid_steps(spec, name, whole, check)
    use = _range_in_words(kind, bounds, is_in_file=is_in_file)
    return f"takes whole numbers, and {values.kind} draws others, as {between:.4g}; use {use}"


def _list_instead(
    spec: JobSpec, name: str, values: RangeSpec, check: Check, *, is_in_file: bool
) -> str | None:
    """Returns which list to use if whole numbers between two bounds are refused, and these not."""
    refused = _refused_between(spec, name, values, check)
    if refused is None:
        return None
    value, why = refused
    listed = _valid_steps(spec, name, values, check)
    use = _range_in_words("choice", listed, is_in_file=is_in_file)
    return f"would also try {value}: {why}; name the values to try, as in {use}"


def _refused_between(
    spec: JobSpec, name: str, values: RangeSpec, check: Check
) -> tuple[int, str] | None:
    """Returns a whole number between the bounds that is refused, and why; `None` if none is."""
    if not values.kind.endswith("integer"):
        return None
    low, high = values.values
    if high - low - 1 <= _TRIED_BETWEEN:
        tried = set(range(low + 1, high))
    else:
        random = Random(0)  # noqa: S311 (no secret)
        tried = {random.randrange(low + 1, high) for _ in range(_TRIED_BETWEEN)}
    for value in sorted(tried):
        faults = _faults_of(spec, name, value, check)
        if faults:
            return value, faults[0]
    return None


def _valid_steps(spec: JobSpec, name: str, values: RangeSpec, check: Check) -> list[int]:
    """Returns valid values of a range, about equally far apart on its scale, with both bounds."""
    low, high = values.values
    shares = [number / _STEPS_PROPOSED for number in range(1, _STEPS_PROPOSED)]
    is_log = values.kind.startswith("log")
    steps = {round(low * (high / low) ** each if is_log else low + each * (high - low))
             for each in shares} - {low, high}  # fmt: skip
    valid = [each for each in steps if not _faults_of(spec, name, each, check)]
    return sorted([low, high, *valid])


def _range_in_words(kind: str, values: list[int], *, is_in_file: bool) -> str:
    """Returns a range as it is written in a job file, or on the command line."""
    if is_in_file:
        return f"{{{kind}: [{', '.join(map(str, values))}]}}"
    return f"{kind}:{(',' if kind == 'choice' else ':').join(map(str, values))}"


def _faults_of(spec: JobSpec, name: str, value: object, check: Check) -> list[str]:
    """Returns the faults of one value; none if a value of another searched field makes it valid."""
    found: list[str] = []
    for number, others in enumerate(_contexts(spec, name)):
        try:
            check(with_values(spec, {**others, name: value}))
        except SpecError as error:
            if number == 0:
                found = [_said(fault, name) for fault in error.faults]
        else:
            return []
    return found


def _contexts(spec: JobSpec, name: str) -> Iterator[dict[str, object]]:
    """Yields the other values to try with one: none; then each of another field of its section."""
    yield {}
    assert spec.tuning is not None  # noqa: S101 (it has a search)
    section = name.partition(".")[0]
    for other, values in spec.tuning.search.items():
        if other != name and other.partition(".")[0] == section:
            yield from ({other: value} for value in values.values)


def _said(fault: Fault, name: str) -> str:
    """Returns a fault's message, with the field that it is in unless that is the searched field."""
    is_plain = f"{name}.".startswith(f"{fault.where}.") or fault.where.startswith(f"{name}.")
    return fault.message if is_plain else f"{fault.where}: {fault.message}"


def _whole(name: str) -> str:
    """Returns `variant` for `variant.name`, because another variant has other options."""
    section, _, rest = name.partition(".")
    return section if section in ("variant", "net") and rest == "name" else name
