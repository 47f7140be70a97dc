"""The line to workers on a cluster says nothing when the driver has left the cluster."""

from __future__ import annotations

import threading
from types import SimpleNamespace

from isthmus.launch.background import Background
from isthmus.launch.event_actor import ActorLine


def test_a_training_that_ends_after_its_driver_calls_no_actor_any_more():
    called = []
    mailbox = SimpleNamespace(
        wake=SimpleNamespace(remote=lambda: called.append("wake")),
        request_stop=SimpleNamespace(remote=lambda: called.append("stop")),
    )
    line, driver_has_left = ActorLine(mailbox), threading.Event()
    line.request_stop()
    line.wake()
    assert called == ["stop", "wake"]
    over = threading.Event()
    Background(driver_has_left.wait, lambda: (line.wake(), over.set()))
    line.close()
    driver_has_left.set()
    assert over.wait(5)
    line.request_stop()
    assert called == ["stop", "wake"]
