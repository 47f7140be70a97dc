"""Servers of this machine: started, waited for, stopped, and said so when they fail."""

from __future__ import annotations

import os
import socket
import sys
import threading
import urllib.request

import pytest

from isthmus.errors import IsthmusError, UsageError
from isthmus.servers import answers, free_port, is_free, run_server
from isthmus.spec import Settings
from isthmus.stack.page import serve_page

HOST = "127.0.0.1"


def test_a_server_runs_as_long_as_the_block_and_its_children_end_with_it(tmp_path):
    port = free_port(HOST)
    command = [sys.executable, "-m", "http.server", str(port), "--bind", HOST]
    url = f"http://{HOST}:{port}/"
    with run_server(
        "file server", command, health=url, log=tmp_path / "log", environment={}
    ) as process:
        assert urllib.request.urlopen(url, timeout=5).status == 200
        assert os.getsid(process.pid) == process.pid  # Ctrl-C in the terminal is not for it
    assert process.poll() is not None
    assert is_free(HOST, port)


def test_a_free_port_is_not_one_that_the_system_gives_to_others(monkeypatch):
    with socket.socket() as given:
        given.bind((HOST, 0))
        lowest = min(given.getsockname()[1], 32_768)
    found = {free_port(HOST) for _ in range(50)}
    assert 20_000 <= min(found) <= max(found) < lowest
    monkeypatch.setattr("isthmus.servers.is_free", lambda host, port: False)
    with pytest.raises(IsthmusError, match="no free port of"):
        free_port(HOST)


def test_a_server_of_another_protocol_does_not_answer():
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()

        def greet() -> None:
            with other.accept()[0] as connection:
                connection.sendall(b"\x00\x00\x18\x04\x00\r\n")
                connection.recv(1024)

        thread = threading.Thread(target=greet)
        thread.start()
        assert not answers(f"http://{HOST}:{other.getsockname()[1]}/", timeout_s=5)
        thread.join()


def test_a_server_that_ends_at_once_is_said_with_its_log(tmp_path):
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    with (
        pytest.raises(IsthmusError, match=r"the page ended with code 3; see .*log"),
        run_server(
            "page", command, health=f"http://{HOST}:1/", log=tmp_path / "log", environment={}
        ),
    ):
        pass


def test_a_port_that_is_taken_is_refused(tmp_path):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = Settings.from_environment({}, tmp_path)
        with (
            pytest.raises(UsageError, match=f"port {port} .* is taken"),
            serve_page(settings, HOST, port),
        ):
            pass
