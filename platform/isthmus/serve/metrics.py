"""The figures of a service for Prometheus; one door counts the requests of all replicas."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from isthmus.serve.messages import Answer, Verb

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """Counts requests."""

    CONTENT_TYPE = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "isthmus_serve_requests",
            "Requests, by verb, HTTP status, and the pair that answered.",
            ("verb", "status", "pair"),
            registry=self._registry,
        )
        self._rows = Counter(
            "isthmus_serve_rows",
            "Rows that were worked on.",
            ("verb",),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "isthmus_serve_request_seconds",
            "Time from a request's first byte to its answer.",
            ("verb",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._repeated = Counter(
            "isthmus_serve_repeated",
            "Requests that were handed on once more, as the replica that had them ended.",
            registry=self._registry,
        )
        self.waiting = Gauge(
            "isthmus_serve_requests_in_progress",
            "Requests that are not answered yet.",
            registry=self._registry,
        )

    def count(self, verb: Verb, answer: Answer, seconds: float) -> None:
        """Counts an answered request."""
        model = answer.pair.partition(" ")[0]
        self._requests.labels(verb, str(answer.status), model).inc()
        self._seconds.labels(verb).observe(seconds)
        self._rows.labels(verb).inc(answer.rows)

    def count_repeated(self) -> None:
        """Counts a request that is handed on once more."""
        self._repeated.inc()

    def text(self) -> bytes:
        """Returns all figures as Prometheus reads them."""
        return generate_latest(self._registry)
