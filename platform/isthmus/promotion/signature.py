"""Whether a webhook's call is MLflow's own, of now, and the first of its kind."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable

WINDOW_S = 300.0
"""How far a call's time may be from ours: MLflow tries again for a minute, and clocks differ."""
_VERSION = "v1"
_DIGITS = 12


class SignatureCheck:
    """Checks calls against a secret, and remembers those of the window.

    Source: mlflow/webhooks/delivery.py; Standard Webhooks, https://www.standardwebhooks.com.
    """

    def __init__(self, secret: str, now_s: Callable[[], float] = time.time) -> None:
        """Args:
        secret: That the webhook was registered with.
        now_s: Seconds since 1970.
        """
        self._secret = secret.encode()
        self._now_s = now_s
        self._seen: dict[str, float] = {}

    def is_genuine(self, delivery_id: str, timestamp: str, signature: str, body: bytes) -> bool:
        """Whether it was signed with the secret, within the window."""
        signed = f"{delivery_id}.{timestamp}.".encode() + body
        digest = hmac.new(self._secret, signed, hashlib.sha256).digest()
        expected = f"{_VERSION},{base64.b64encode(digest).decode()}"
        # Compared first, and in full: nothing is told to those who do not know the secret.
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            return False
        return self.is_timely(timestamp)

    def is_timely(self, timestamp: str) -> bool:
        """Whether a call says that it is within the window; anybody can."""
        is_number = timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= _DIGITS
        return is_number and abs(self._now_s() - int(timestamp)) <= WINDOW_S

    def is_new(self, delivery_id: str) -> bool:
        """Whether a genuine call comes for the first time; MLflow repeats what got no answer."""
        now_s = self._now_s()
        # Older ones are out of the window, and so would be their repetition.
        self._seen = {each: at for each, at in self._seen.items() if now_s - at <= 2 * WINDOW_S}
        if delivery_id in self._seen:
            return False
        self._seen[delivery_id] = now_s
        return True
