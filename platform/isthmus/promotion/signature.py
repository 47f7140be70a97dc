"""Verifies that a webhook call comes from MLflow, is recent, and is not a repetition."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable

WINDOW_S = 300.0
"""The largest difference between a call's time and this machine's, in seconds. MLflow retries for a
minute, and clocks differ."""
_VERSION = "v1"
_DIGITS = 12


class SignatureCheck:
    """Verifies calls against a secret, and remembers the recent ones.

    Source: mlflow/webhooks/delivery.py; Standard Webhooks, https://www.standardwebhooks.com.
    """

    def __init__(self, secret: str, now_s: Callable[[], float] = time.time) -> None:
        """Creates a check that has seen no calls yet.

        Args:
            secret: The secret that the webhook was registered with.
            now_s: A function that returns the time, in seconds since 1970.
        """
        self._secret = secret.encode()
        self._now_s = now_s
        self._seen: dict[str, float] = {}

    def is_genuine(self, delivery_id: str, timestamp: str, signature: str, body: bytes) -> bool:
        """Returns whether a call was signed with the secret, and is within the time window."""
        signed = f"{delivery_id}.{timestamp}.".encode() + body
        digest = hmac.new(self._secret, signed, hashlib.sha256).digest()
        expected = f"{_VERSION},{base64.b64encode(digest).decode()}"
        # The signature is compared first and in constant time, so that callers without the secret
        # learn nothing.
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            return False
        return self.is_timely(timestamp)

    def is_timely(self, timestamp: str) -> bool:
        """Returns whether a call claims a time within the window, which any caller can do."""
        is_number = timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= _DIGITS
        return is_number and abs(self._now_s() - int(timestamp)) <= WINDOW_S

    def is_new(self, delivery_id: str) -> bool:
        """Returns whether a genuine call is new; MLflow repeats calls that got no answer."""
        now_s = self._now_s()
        # Older calls are outside the window, and so would be their repetitions.
        self._seen = {each: at for each, at in self._seen.items() if now_s - at <= 2 * WINDOW_S}
        if delivery_id in self._seen:
            return False
        self._seen[delivery_id] = now_s
        return True
