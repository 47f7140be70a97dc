"""`--max-error` is one error for all features, or some columns' own, absolute or a share."""

import pytest

from isthmus.compression.within_error.max_error import MaxError
from isthmus.errors import UsageError
from isthmus.spec import RowSchema
from isthmus.types import DataKind

FEATURES = ("a", "b")
TAKEN = RowSchema(
    kind=DataKind.TABULAR, shape=(2,), features=FEATURES, lowest=(0.0, -5.0), highest=(10.0, 5.0)
)


@pytest.mark.parametrize(
    ("asked", "errors"),
    [
        ("0", {}),
        ("0.01", {"a": 0.01, "b": 0.01}),
        ("1%", {"a": 0.1, "b": 0.1}),
        ("a=0.5,b=5%", {"a": 0.5, "b": 0.5}),
        ("1%, id=2", {"a": 0.1, "b": 0.1, "id": 2.0}),
        ("0.01,a=0", {"b": 0.01}),
    ],
)
def test_errors_are_those_that_are_asked_for(asked, errors):
    assert MaxError.parse(asked).of(("id", *FEATURES), FEATURES, TAKEN) == pytest.approx(errors)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("x", '"x" is no error'),
        ("-1", '"-1" is no error'),
        ("nan", '"nan" is no error'),
        ("a=", '"" is no error'),
        ("1,2", "two errors for all"),
        ("a=1,a=2", "names no new column"),
        ("=1", "names no new column"),
        ("aa=1", 'no column "aa"; did you mean "a"'),
        ("id=1%", "id is no feature"),
    ],
)
def test_what_is_no_error_is_refused_with_one_line(asked, said):
    with pytest.raises(UsageError, match=said) as refused:
        MaxError.parse(asked).of(("id", *FEATURES), FEATURES, TAKEN)
    assert "\n" not in str(refused.value)


def test_a_share_of_a_range_that_is_not_known_is_refused():
    taken = TAKEN.model_copy(update={"lowest": None})
    with pytest.raises(UsageError, match="remembers no trained range"):
        MaxError.parse("1%").of(FEATURES, FEATURES, taken)
