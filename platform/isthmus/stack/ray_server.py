"""A Ray head node with its dashboard, where jobs train and where `isthmus submit` sends them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from isthmus.ray_head import ON_LOOPBACK, HeadPorts, head_command, head_environment, head_health
from isthmus.servers import answers
from isthmus.stack.mlflow_server import MlflowServer
from isthmus.stack.object_store import ObjectStore
from isthmus.stack.place import HOST, Place
from isthmus.stack.service import Service

_TIMEOUT_S = 2.0


class RayHead(Service):
    """A Ray head node with the addresses of the stack's stores, which its jobs inherit."""

    name = "ray"
    title = "Ray"
    requires = ("s3", "mlflow")
    waits = False
    more_ports = ("cluster", "agent", "client")
    stop_timeout_s = 30.0

    def prepare(self, place: Place) -> None:
        """Deletes what an earlier head node has left."""
        shutil.rmtree(_folder(place), ignore_errors=True)

    def command(self, place: Place) -> list[str]:
        """Returns the command of the parent process of all the head node's processes."""
        return head_command(str(_folder(place)), _ports(place))

    def environment(self, place: Place) -> Mapping[str, str]:
        """Returns the variables for the token and the addresses of the stores."""
        return {
            **ObjectStore().client_environment(place),
            **MlflowServer().client_environment(place),
            **head_environment(place.secrets["ray"]),
        }

    def answers(self, place: Place) -> bool:
        """Returns whether it accepts jobs and runs them."""
        requests = head_health(_ports(place), place.secrets["ray"])
        return all(answers(request, _TIMEOUT_S) for request in requests)

    def client_environment(self, place: Place) -> Mapping[str, str]:
        """Returns the variables by which `train` and `submit` find it."""
        return {
            **ON_LOOPBACK,
            "RAY_ADDRESS": f"{HOST}:{place.ports['ray.cluster']}",
            "RAY_API_SERVER_ADDRESS": self.address(place),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": place.secrets["ray"],
        }


def _folder(place: Place) -> Path:
    return place.scratch / "ray"


def _ports(place: Place) -> HeadPorts:
    ports = place.ports
    return HeadPorts(ports["ray.cluster"], ports["ray"], ports["ray.agent"], ports["ray.client"])
