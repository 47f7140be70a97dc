"""The numbers of a check in words, for the command line, the version's card and messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isthmus.promotion.verdict import Check

_VALUES = {
    "error": "{:.5g}",
    "score": "{:.3f}",
    "dB": "{:.2f} dB",
    "us": "{:,.3g} us a row",
    "bytes": "{:,.0f} bytes",
    "count": "{:,.0f}",
}
_DIFFERENCES = {"score": "{:+.3f}", "dB": "{:+.2f} dB"}


def cells(check: Check) -> tuple[str, str, str, str]:
    """Returns the value, the value beside it, the difference and what is asked for.

    Those that a check does not have are empty. An interval of the value itself stands beside it,
    and that of a difference beside the difference.
    """
    beside = "" if check.beside is None else _value(check, check.beside)
    value = "none" if check.value is None else _value(check, check.value)
    if check.change is None and check.low is not None and check.high is not None:
        value += f" (95 % interval {_value(check, check.low)} to {_value(check, check.high)})"
    return value, beside, _change(check), _asked(check)


def sentence(check: Check) -> str:
    """Returns a check in one line."""
    value, beside, change, asked = cells(check)
    change = f": {change}" if change else ""
    if check.check == "pca":
        figures = f": own {value}, PCA's {beside}{change}"
    else:
        figures = f" {value} beside {beside}{change}" if beside else f" {value}{change}"
    return f"{check.name}{figures}; asked for: {asked}{power(check)}"


def power(check: Check) -> str:
    """Returns how often such rows can tell, for an undecided check; empty for others."""
    if check.verdict != "undecided" or check.power is None:
        return ""
    return f" (of equally good versions {100 * check.power:.0f} % pass on such rows)"


def _value(check: Check, value: float) -> str:
    if check.unit == "share":
        return f"{100 * value:.2g} %"
    return _VALUES[check.unit].format(value)


def _change(check: Check) -> str:
    if check.change is None:
        return ""
    ends = "" if check.low is None or check.high is None else _ends(check, check.low, check.high)
    if check.scale == "relative":
        return f"{_percent(check.change)} % {ends}"
    if check.scale == "times":
        return f"{check.change:.2f} times {ends}".rstrip()
    return f"{_difference(check, check.change)} {ends}"


def _ends(check: Check, low: float, high: float) -> str:
    if check.scale == "relative":
        return f"(95 % interval {_percent(low)} to {_percent(high)} %)"
    return f"({_difference(check, low)} to {_difference(check, high)})"


def _percent(share: float) -> str:
    return f"{100 * share + 0.0:+.1f}"


def _difference(check: Check, value: float) -> str:
    return _DIFFERENCES.get(check.unit, "{:+.4f}").format(value)


def _asked(check: Check) -> str:
    bound = check.bound
    if bound is None:
        return "nothing" if check.beside is not None else "nothing: no other to compare with"
    if check.scale == "relative":
        return f"at most {100 * bound:g} % higher" if bound else "lower beyond chance"
    if check.scale == "difference":
        if bound == 0:
            return "not lower"
        unit = " dB" if check.unit == "dB" else ""
        return f"at most {-bound:g}{unit} lower"
    if check.scale == "times":
        return f"at most {bound:g} times"
    if check.unit == "share":
        return f"at most {100 * bound:.3g} %"
    return f"at most {bound:g}"
