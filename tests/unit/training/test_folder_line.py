"""The line through a folder: what a worker's process writes, the driver reads."""

import pickle
import threading
import time
from multiprocessing import get_context

import pytest

from isthmus.training.events import RowsDone, Started
from isthmus.training.folder_line import FolderLine


@pytest.fixture
def line():
    made = FolderLine()
    yield made
    made.close()


def send_many(sender, first):
    for number in range(200):
        sender.send(RowsDone(first, number))


def test_events_come_in_their_order_and_once(line):
    line.sender.send(Started(3, 100, 1))
    line.sender.send(RowsDone(1, 5))
    assert line.drain() == [Started(3, 100, 1), RowsDone(1, 5)]
    assert line.drain() == []
    line.sender.send(RowsDone(1, 6))
    assert line.drain(10.0) == [RowsDone(1, 6)]


def test_two_processes_events_stay_whole(line):
    """A worker that was replaced may still write when the next one does."""
    context = get_context("spawn")
    workers = [context.Process(target=send_many, args=(line.sender, each)) for each in (1, 2)]
    for worker in workers:
        worker.start()
    found = []
    while any(worker.is_alive() for worker in workers):
        found += line.drain(0.1)
    found += line.drain()
    for which in (1, 2):
        numbers = [event.done for event in found if event.epoch == which]
        assert numbers == list(range(200))


def test_half_an_event_waits_for_the_rest(line):
    whole = pickle.dumps(RowsDone(1, 7))
    framed = len(whole).to_bytes(4, "little") + whole
    for part in (framed[:2], framed[2:9]):
        with line.sender.events.open("ab") as file:
            file.write(part)
        assert line.drain() == []
    with line.sender.events.open("ab") as file:
        file.write(framed[9:] + framed)
    assert line.drain() == [RowsDone(1, 7)] * 2


def test_the_wish_to_stop_reaches_the_worker(line):
    sender = pickle.loads(pickle.dumps(line.sender))
    assert not sender.stop_was_requested()
    line.request_stop()
    assert sender.stop_was_requested()


def test_the_end_of_training_ends_the_waiting(line):
    began_s = time.monotonic()
    threading.Timer(0.2, line.wake).start()
    assert line.drain(30.0) == []
    assert time.monotonic() - began_s < 10


def test_only_its_owner_can_write_and_nothing_stays():
    line = FolderLine()
    folder = line.sender.events.parent
    assert folder.stat().st_mode & 0o077 == 0
    line.sender.send(RowsDone(1, 1))
    line.close()
    assert not folder.exists()
