"""How many workers Ray Train has on a Ray of our own; its controller loads this."""

from __future__ import annotations

from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy


class FixedWorkers(FixedScalingPolicy):  # type: ignore[misc]
    """As many as were asked for, without announcing them to an autoscaler that is not there."""

    def _send_resource_request(self) -> None:
        pass

    def _maybe_send_resource_request(self) -> None:
        pass

    def _cancel_resource_request(self) -> None:
        pass
