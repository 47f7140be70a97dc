"""The figures of a check read well: an interval stands beside what it is the interval of."""

from __future__ import annotations

import pytest

from isthmus.promotion import words
from isthmus.promotion.verdict import Check, Verdict

SHARE = Check(
    check="false_positives",
    name="rows above the threshold (nominal 1 %)",
    value=0.019,
    low=0.002,
    high=0.083,
    bound=0.05,
    unit="share",
)
AUROC = Check(
    check="detection",
    name="AUROC",
    value=0.773,
    beside=0.929,
    change=-0.156,
    low=-0.198,
    high=-0.114,
    bound=-0.01,
    unit="score",
    scale="difference",
)
PCA = Check(
    check="pca",
    name="error beside PCA at 2",
    value=0.59037,
    beside=0.27886,
    change=1.117,
    low=0.9,
    high=1.3,
    bound=0.0,
    verdict="refused",
    scale="relative",
)


def test_an_interval_of_the_value_itself_is_no_difference():
    assert words.cells(SHARE) == ("1.9 % (95 % interval 0.2 % to 8.3 %)", "", "", "at most 5 %")
    (row,) = [
        line
        for line in Verdict("m/1", None, 60, (SHARE,), "", "enforce").as_markdown().splitlines()
        if "nominal" in line
    ]
    assert "1.9 % (95 % interval 0.2 % to 8.3 %) |  |  |" in row


def test_an_interval_of_a_difference_stands_beside_the_difference():
    value, beside, change, _ = words.cells(AUROC)
    assert (value, beside, change) == ("0.773", "0.929", "-0.156 (-0.198 to -0.114)")


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (
            SHARE,
            "rows above the threshold (nominal 1 %) 1.9 % (95 % interval 0.2 % to 8.3 %); "
            "asked for: at most 5 %",
        ),
        (
            PCA,
            "error beside PCA at 2: own 0.59037, PCA's 0.27886: +111.7 % (95 % interval +90.0 "
            "to +130.0 %); asked for: lower beyond chance",
        ),
    ],
    ids=["share", "PCA"],
)
def test_a_check_reads_well_in_one_line(check: Check, said: str):
    assert str(check) == said
