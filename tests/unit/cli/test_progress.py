"""Without a terminal, training says every half minute how far it is, also within an epoch."""

from __future__ import annotations

import pytest

from isthmus.cli import progress
from isthmus.cli.progress import TrainingProgress
from isthmus.progress import telling
from isthmus.progress.reporter import EpochReport, StepReport
from isthmus.progress.telling import in_words

ROWS = 10_000


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (progress, telling):
        monkeypatch.setattr(module, "time", clock)
    return clock


def step(epoch: int, done: int) -> StepReport:
    return StepReport(epoch, step=done // 100, steps=ROWS // 100, done=done, loss=0.25)


def test_a_long_epoch_is_not_silent(clock, capsys):
    with TrainingProgress() as shown:
        shown.on_start(epochs=3, rows=ROWS, first_epoch=1)
        for done in range(500, 6500, 500):  # 100 rows a second, told every 5 s
            clock.now_s += 5
            shown.on_rows(1, done)
            shown.on_step(step(1, done))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3  # that it began, and two half minutes
    assert lines[1] == "epoch 1/3, step 30/100  loss 0.25  100 rows/s  4 min left at most"
    assert lines[2].startswith("epoch 1/3, step 60/100  loss 0.25  100 rows/s")


def test_short_epochs_are_told_every_half_minute_and_not_each(clock, capsys):
    with TrainingProgress() as shown:
        shown.on_start(epochs=100, rows=ROWS, first_epoch=41)  # of a run that is resumed
        for epoch in range(41, 81):
            clock.now_s += 2
            shown.on_epoch(EpochReport(epoch, {"loss": 0.5}, {"loss": 0.75}, 1e-3, 5000.0))
    lines = capsys.readouterr().err.splitlines()[1:]
    assert len(lines) == 2
    assert lines[0] == ("epoch 55/100  loss 0.5  validation 0.75  5,000 rows/s  2 min left at most")


def test_durations_are_in_words():
    said = [in_words(each) for each in (7.4, 119, 121, 7500)]
    assert said == ["7 s", "2 min", "2 min", "2 h 5 min"]
