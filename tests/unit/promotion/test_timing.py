"""The gate's timing of a pair beside the champion, on a machine that does other things too."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np

from isthmus.promotion.measures import seconds_in_turns


class TimedPair:
    """Stands for a pair; the first calls take a given time each, as on a busy machine."""

    manifest = SimpleNamespace(plan=SimpleNamespace(row_shape=(4,)))

    def __init__(self, slow_calls: int = 0, slow_s: float = 0.002) -> None:
        self._slow_calls, self._slow_s = slow_calls, slow_s

    def encode(self, rows, as_read: bool):
        self._slow_calls -= 1
        time.sleep(self._slow_s if self._slow_calls >= 0 else 0.0002)
        return rows

    def decode(self, latents):
        return latents

    def reconstruct(self, rows, as_read: bool):
        return self.decode(self.encode(rows, as_read))


HELD_OUT = SimpleNamespace(rows=np.zeros((8, 4), np.float32))


def times(challenger: TimedPair) -> float:
    fastest = seconds_in_turns((challenger, TimedPair()), HELD_OUT).min(axis=0)
    return float(fastest[0] / fastest[1])


def test_a_pair_that_only_the_first_rounds_slowed_down_is_timed_for_longer():
    assert times(TimedPair(slow_calls=20)) < 1.5


def test_a_pair_that_is_slower_in_every_round_stays_slower():
    assert times(TimedPair(slow_calls=10**9)) > 3
