"""Lists the jobs on a cluster, reads their logs, and cancels them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from isthmus.cluster.client import Cluster, connect
from isthmus.errors import UsageError, nearest

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_ENDED = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
_POLL_S = 0.5


@dataclass(frozen=True)
class JobSummary:
    """The state of a job on a cluster.

    Attributes:
        job_id: The id that `logs` and `cancel` take.
        name: The name of the pair that it registers.
        status: Ray's status: PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED.
        message: Ray's message about the job.
        started: The time of its start, in UTC; `None` if it has not started.
        seconds: The time that it has run so far, or ran in all.
    """

    job_id: str
    name: str
    status: str
    message: str
    started: datetime | None
    seconds: float


def list_jobs(cluster: Cluster) -> tuple[JobSummary, ...]:
    """Returns the jobs that Isthmus submitted, newest first.

    Raises:
        ClusterError: If the cluster does not answer.
    """
    with connect(cluster) as client:
        found = [details for details in client.list_jobs() if _is_ours(details)]
    return tuple(
        _summary(details)
        for details in sorted(found, key=lambda each: each.start_time or 0, reverse=True)
    )


def job_status(cluster: Cluster, job_id: str) -> JobSummary:
    """Returns the state of one job.

    Raises:
        UsageError: If there is no such job.
        ClusterError: If the cluster does not answer.
    """
    with connect(cluster) as client:
        return _summary(_details(client, job_id))


def job_logs(cluster: Cluster, job_id: str, *, follow: bool = False) -> Iterator[str]:
    """Yields a job's log in pieces; with `follow`, continues until the job ends.

    Raises:
        UsageError: If there is no such job.
        ClusterError: If the cluster does not answer.
    """
    with connect(cluster) as client:
        _details(client, job_id)
        if follow:
            yield from _synchronous(client.tail_job_logs(job_id))
        else:
            yield client.get_job_logs(job_id)


def cancel(cluster: Cluster, job_id: str, timeout_s: float = 150.0) -> JobSummary:
    """Stops a job as Ctrl-C would, and waits for its end; its run can be resumed.

    Raises:
        UsageError: If there is no such job, or it has ended.
        ClusterError: If the cluster does not answer.
    """
    with connect(cluster) as client:
        details = _details(client, job_id)
        if _status(details) in _ENDED:
            raise UsageError(f"job {job_id} has ended already ({_status(details).lower()})")
        client.stop_job(job_id)
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s and _status(details) not in _ENDED:
            time.sleep(_POLL_S)
            details = client.get_job_info(job_id)
        return _summary(details)


def _details(client: JobSubmissionClient, job_id: str) -> Any:
    found = {each.submission_id: each for each in client.list_jobs() if _is_ours(each)}
    if job_id in found:
        return found[job_id]
    hint = nearest(job_id, sorted(found)[:20]) if found else "none was submitted yet"
    raise UsageError(f'no job "{job_id}"; {hint}')


def _is_ours(details: Any) -> bool:
    return "isthmus.job" in (details.metadata or {}) and details.submission_id is not None


def _status(details: Any) -> str:
    return str(getattr(details.status, "value", details.status))


def _summary(details: Any) -> JobSummary:
    start_ms, end_ms = details.start_time, details.end_time or time.time() * 1000
    return JobSummary(
        job_id=details.submission_id,
        name=details.metadata["isthmus.job"],
        status=_status(details),
        message=(details.message or "").strip(),
        started=datetime.fromtimestamp(start_ms / 1000, UTC) if start_ms else None,
        seconds=(end_ms - start_ms) / 1000 if start_ms else 0.0,
    )


def _synchronous(pieces: AsyncIterator[str]) -> Iterator[str]:
    async def following() -> str | None:
        return await anext(pieces, None)

    with asyncio.Runner() as runner:
        while (piece := runner.run(following())) is not None:
            yield piece
