"""The connection to a cluster's Jobs API, and the messages for its errors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isthmus.cluster.head import find_head
from isthmus.errors import ClusterError, IsthmusError, UsageError
from isthmus.quiet import hand_over_ray_logs
from isthmus.spec import Settings

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

# Ray prefers these variables to the address that is passed to it.
_RAY_ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster to which jobs are submitted.

    Attributes:
        address: The URL of Ray's dashboard, `http://HOST:8265`.
        token: The token that it requires; `None` leaves this to Ray's own settings.
        is_local: Whether it is this machine's own head node, which sees this machine's files.
    """

    address: str
    token: str | None = None
    is_local: bool = False


def find_cluster(address: str | None, settings: Settings) -> Cluster:
    """Returns the named cluster, or the environment's, or this machine's own head node.

    Raises:
        UsageError: If there is none of them, or the address is not one of Ray's Jobs API.
    """
    head = find_head(settings)
    named = address or os.environ.get("RAY_API_SERVER_ADDRESS")
    if head is not None and named in (None, head.address):
        return Cluster(head.address, head.token, is_local=True)
    if named is None:
        raise UsageError(
            "no cluster is named; give --address http://HOST:8265, set RAY_API_SERVER_ADDRESS, or "
            "start a Ray head on this machine with isthmus submit --local JOB.yaml"
        )
    if not named.startswith(("http://", "https://")):
        raise UsageError(
            f"\"{named}\" is no address of Ray's Jobs API; give the dashboard's, as in "
            "http://HOST:8265"
        )
    return Cluster(named.rstrip("/"), os.environ.get("RAY_AUTH_TOKEN"))


@contextmanager
def connect(cluster: Cluster) -> Iterator[JobSubmissionClient]:
    """Connects to the Jobs API; an error in the block becomes an error with a one-line message.

    Raises:
        ClusterError: If the cluster does not answer or refuses a request.
    """
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    hand_over_ray_logs()
    headers = {"Authorization": f"Bearer {cluster.token}"} if cluster.token else None
    try:
        with _without_ray_addresses():
            client = JobSubmissionClient(cluster.address, headers=headers)
        yield client
    except IsthmusError:
        raise
    except ConnectionError as error:
        raise ClusterError(
            f"the Ray cluster at {cluster.address} does not answer; check the address (it is the "
            "dashboard's) and that the head runs"
        ) from error
    except (RayError, RuntimeError, ValueError, OSError) as error:
        raise ClusterError(_refusal(cluster, str(error))) from error


def _refusal(cluster: Cluster, said: str) -> str:
    if "401" in said or "403" in said or "uthentication" in said:
        return (
            f"the Ray cluster at {cluster.address} wants a token; set RAY_AUTH_TOKEN to the "
            "cluster's (ray get-auth-token prints it on the head)"
        )
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    reason = lines[-1][:300] if lines else "no reason given"
    return f"the Ray cluster at {cluster.address} refused: {reason}"


@contextmanager
def _without_ray_addresses() -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in _RAY_ADDRESSES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
