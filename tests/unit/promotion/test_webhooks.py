"""A webhook's call counts if MLflow signed it, now, for the first time."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import time
from contextlib import ExitStack, suppress

import pytest
from mlflow.tracking import MlflowClient
from mlflow.webhooks import delivery
from mlflow.webhooks.delivery import _generate_hmac_signature

from isthmus.aliases import register_webhook
from isthmus.errors import UsageError
from isthmus.promotion import receiver
from isthmus.promotion.receiver import MOST_BYTES, PATH, listen
from isthmus.promotion.signature import WINDOW_S, SignatureCheck
from isthmus.spec import Settings
from isthmus.tracking import open_store

SECRET = "0123456789abcdef"
BODY = json.dumps(
    {
        "entity": "model_version_alias",
        "action": "created",
        "timestamp": "2026-01-01T00:00:00+00:00",
        "data": {"name": "digits-encoder", "alias": "champion", "version": "3"},
    }
)


def headers(delivery="one", timestamp=None, secret=SECRET, body=BODY):
    timestamp = str(int(time.time())) if timestamp is None else timestamp
    return {
        "X-MLflow-Delivery-Id": delivery,
        "X-MLflow-Timestamp": timestamp,
        "X-MLflow-Signature": _generate_hmac_signature(secret, delivery, timestamp, body),
    }


@pytest.fixture
def rung():
    return []


@pytest.fixture
def call(rung):
    """Posts to a real receiver; gives the status and the body."""
    with listen("127.0.0.1", 0, SECRET, rung.append) as port:

        def run(sent, body=BODY, method="POST", path=PATH):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            try:
                connection.request(method, path, body, sent)
                answer = connection.getresponse()
                return answer.status, answer.read()
            finally:
                connection.close()

        yield run


def test_what_mlflow_signed_rings_once_however_often_it_comes(call, rung):
    sent = headers()
    assert [call(sent)[0] for _ in range(3)] == [202, 202, 202]
    assert rung == ["digits"]
    assert call(headers("two"))[0] == 202
    assert rung == ["digits", "digits"]


# Made when the test runs: a time in the future may have come by then.
FORGED = {
    "unsigned": lambda: {},
    "another secret": lambda: headers(secret="fedcba9876543210"),
    "too old": lambda: headers(timestamp=str(int(time.time() - 2 * WINDOW_S))),
    "from the future": lambda: headers(timestamp=str(int(time.time() + 2 * WINDOW_S))),
    "no time": lambda: headers(timestamp="now"),
    "another body": lambda: headers(body=BODY.replace("3", "4")),
    "another delivery": lambda: {**headers(), "X-MLflow-Delivery-Id": "two"},
    "no ascii": lambda: {**headers(), "X-MLflow-Signature": "v1,\xe4"},
}


@pytest.mark.parametrize("sent", FORGED.values(), ids=FORGED.keys())
def test_what_is_not_genuine_is_refused_without_a_word(call, rung, sent):
    assert call(sent()) == (401, b"")
    assert rung == []


def test_what_is_about_something_else_is_taken_and_ignored(call, rung):
    for body in ('{"data": {"name": "a-prompt"}}', "[]", "no json", '{"data": {"name": 3}}'):
        assert call(headers(body=body), body)[0] == 202
    assert rung == []


def test_a_body_larger_than_any_of_mlflows_and_other_doors_are_refused(call, rung):
    large = "x" * (MOST_BYTES + 1)
    assert call(headers(body=large), large)[0] == 413
    assert call({}, "", "GET")[0] == 405
    assert call(headers(), path="/other")[0] == 404
    assert rung == []


def answer_to(sent, monkeypatch):
    """What a caller is told who never sends the body that it announces."""
    monkeypatch.setattr(receiver, "_BODY_TIMEOUT_S", 0.1)
    with (
        listen("127.0.0.1", 0, SECRET, print) as port,
        socket.create_connection(("127.0.0.1", port), timeout=5) as caller,
    ):
        lines = [f"POST {PATH} HTTP/1.1", "Host: here", "Content-Length: 99"]
        lines += [f"{name}: {value}" for name, value in sent.items()]
        caller.sendall("\r\n".join([*lines, "", "x"]).encode())
        return caller.recv(100).split()[1]


def test_nothing_is_read_of_a_call_that_is_not_signed_or_not_of_now(monkeypatch):
    assert answer_to({}, monkeypatch) == b"401"
    assert answer_to(FORGED["too old"](), monkeypatch) == b"401"


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch):
    assert answer_to(headers(), monkeypatch) == b"408"


UNFINISHED = f"POST {PATH} HTTP/1.1\r\nHost: here\r\nX-Slow: ".encode()


@pytest.fixture
def half_open():
    """Opens connections that have sent a part of their headers, from an address of this machine."""
    with ExitStack() as held:

        def run(port, source="127.0.0.1"):
            opened = socket.create_connection(
                ("127.0.0.1", port), timeout=10, source_address=(source, 0)
            )
            held.enter_context(opened)
            opened.sendall(UNFINISHED)
            return opened

        yield run


@pytest.mark.parametrize("addresses", [1, 80])
def test_a_genuine_call_is_answered_beside_many_that_never_finish_their_headers(
    half_open, rung, addresses, monkeypatch
):
    if addresses > 1 and sys.platform != "linux":
        pytest.skip("this system's loopback interface has one address")
    # Longer than the genuine calls are waited for: none is answered because the others were ended.
    monkeypatch.setattr(receiver, "_HEADERS_TIMEOUT_S", 600.0)
    with listen("127.0.0.1", 0, SECRET, rung.append) as port:
        for number in range(80):
            half_open(port, f"127.0.0.{1 + number % addresses}")
        for delivery in ("one", "two", "three"):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("POST", PATH, BODY, headers(delivery))
            assert connection.getresponse().status == 202
            connection.close()
    assert rung == ["digits"] * 3


def test_headers_that_do_not_come_are_not_waited_for(half_open, monkeypatch):
    monkeypatch.setattr(receiver, "_HEADERS_TIMEOUT_S", 0.3)
    with listen("127.0.0.1", 0, SECRET, print) as port:
        began_s = time.monotonic()
        with suppress(ConnectionResetError):
            assert half_open(port).recv(100) == b""
        assert time.monotonic() - began_s > 0.2


def test_a_connection_that_a_request_is_answered_on_outlives_the_time_for_headers(monkeypatch):
    monkeypatch.setattr(receiver, "_HEADERS_TIMEOUT_S", 2.0)
    monkeypatch.setattr(receiver, "_BODY_TIMEOUT_S", 60.0)
    with (
        listen("127.0.0.1", 0, SECRET, print) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as caller,
    ):
        lines = [f"POST {PATH} HTTP/1.1", "Host: here", f"Content-Length: {len(BODY)}"]
        lines += [f"{name}: {value}" for name, value in headers().items()]
        caller.sendall("\r\n".join([*lines, "", BODY[:9]]).encode())
        time.sleep(2.5)
        caller.sendall(BODY[9:].encode())
        assert caller.recv(100).split()[1] == b"202"


def test_what_was_seen_is_forgotten_only_when_it_is_too_old_to_be_sent_again():
    now = [1000.0]
    check = SignatureCheck(SECRET, lambda: now[0])
    assert check.is_new("one")
    now[0] += 2 * WINDOW_S  # signed at the window's far end, it is genuine until here
    assert not check.is_new("one")
    now[0] += 1
    assert check.is_new("two")
    assert list(check._seen) == ["two"]


def test_a_short_secret_and_a_taken_port_are_refused(call):
    with pytest.raises(UsageError, match="openssl rand"), listen("127.0.0.1", 0, "short", print):
        pass
    with (
        listen("127.0.0.1", 0, SECRET, print) as port,
        pytest.raises(UsageError, match="cannot listen on"),
        listen("127.0.0.1", port, SECRET, print),
    ):
        pass


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    """An embedded MLflow that delivers webhooks to this machine, once and at once."""
    from cryptography.fernet import Fernet

    monkeypatch.setenv("MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http")
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")
    monkeypatch.setenv("MLFLOW_WEBHOOK_REQUEST_MAX_RETRIES", "0")
    # Only a server offers the trial; it is this function there.
    monkeypatch.setattr(
        MlflowClient,
        "test_webhook",
        lambda self, which: delivery.test_webhook(self.get_webhook(which)),
    )
    return Settings.from_environment({}, tmp_path)


def urls(settings):
    return sorted(hook.url for hook in open_store(settings).list_webhooks(max_results=100))


@pytest.mark.slow
def test_webhooks_of_killed_watchers_are_removed_and_no_others(mlflow, monkeypatch):
    client = open_store(mlflow)
    list_webhooks = type(client).list_webhooks
    events = ["model_version.created"]
    client.create_webhook("isthmus-watch", "http://127.0.0.1:1/mlflow", events, secret=SECRET)
    client.create_webhook("of-others", "http://127.0.0.1:2/hook", events, secret=SECRET)
    monkeypatch.setattr(
        type(client),
        "list_webhooks",
        lambda self, **page: list_webhooks(self, **({"max_results": 1} | page)),
    )
    with (
        listen("127.0.0.1", 0, SECRET, print) as one,
        listen("127.0.0.1", 0, SECRET, print) as two,
    ):
        ours = [f"http://127.0.0.1:{port}{PATH}" for port in (one, two)]
        registered = [register_webhook(url, SECRET, mlflow) for url in (*ours, ours[0])]
    assert [hook.trouble for hook in registered] == ["", "", ""]
    assert urls(mlflow) == sorted([*ours, "http://127.0.0.1:2/hook"])


@pytest.mark.slow
def test_a_webhook_whose_trial_fails_is_not_left_behind(mlflow, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(open_store(mlflow)), "test_webhook", interrupt)
    with pytest.raises(KeyboardInterrupt):
        register_webhook("http://127.0.0.1:1/mlflow", SECRET, mlflow)
    assert urls(mlflow) == []
