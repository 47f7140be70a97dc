"""The application that Ray Serve runs: the door, and the replicas of the pair behind it.

`isthmus.serve.application:build` is the import path of a RayService (infra/kuberay).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isthmus.extras import importing
from isthmus.serve.batching import REQUESTS_IN_A_BATCH
from isthmus.serve.options import ServeOptions, token_digest_from_environment
from isthmus.spec import Settings

with importing("serve", needed_by="isthmus serve"):
    from ray import serve

    from isthmus.serve.door import RETRY_AFTER_S, Door
    from isthmus.serve.replica import PairReplica

# Two batches: one is computed while the next is read.
_MOST_ONGOING_REQUESTS = 2 * REQUESTS_IN_A_BATCH
_HEALTH_PERIOD_S = 2.0
# The door lets in so many times the requests that may be worked on and wait, to refuse the rest.
_LET_IN = 10
# A replica that is to end answers what it has first.
_END_LOOK_S, _END_TIMEOUT_S = 0.5, 10.0


def build(args: Mapping[str, Any]) -> Any:
    """Returns the application of a RayService, whose token is that of `ISTHMUS_SERVE_TOKEN`.

    Args:
        args: The options of the service, by name.
    """
    digest = token_digest_from_environment()
    return application(ServeOptions.model_validate({"token_sha256": digest, **args}))


def application(options: ServeOptions, settings: Settings | None = None) -> Any:
    """Returns the application.

    Args:
        options: The options of the service.
        settings: The settings with the registry's address; by default those of the environment
            that the replicas run in.
    """
    ongoing = min(_MOST_ONGOING_REQUESTS, options.queue)
    let_in = _LET_IN * (options.queue + ongoing * options.replicas)
    pairs = serve.deployment(
        PairReplica,
        name="pair",
        num_replicas=options.replicas,
        # The reference is no argument of the constructor: a change of it starts no new process.
        user_config={"model": options.model, "follow_s": options.follow_s},
        max_ongoing_requests=ongoing,
        max_queued_requests=options.queue,
        health_check_period_s=_HEALTH_PERIOD_S,
        graceful_shutdown_wait_loop_s=_END_LOOK_S,
        graceful_shutdown_timeout_s=_END_TIMEOUT_S,
        ray_actor_options={"num_cpus": options.threads, "num_gpus": options.gpus},
    )
    door = serve.deployment(
        serve.ingress()(Door),
        name="door",
        # One, so that requests are counted in one place.
        num_replicas=1,
        max_ongoing_requests=let_in,
        max_queued_requests=let_in,
        backpressure_config={"status_code": 429, "retry_after_s": RETRY_AFTER_S},
        health_check_period_s=_HEALTH_PERIOD_S,
        graceful_shutdown_wait_loop_s=_END_LOOK_S,
        graceful_shutdown_timeout_s=_END_TIMEOUT_S,
        ray_actor_options={"num_cpus": 0},
    )
    return door.bind(options, pairs.bind(options, settings))
