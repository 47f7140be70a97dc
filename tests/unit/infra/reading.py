"""What the tests of infra/ read: the Dockerfile, the compose files and the example of variables."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
INFRA = ROOT / "infra"
DOCKERFILE = INFRA / "Dockerfile"
COMPOSE_FILES = sorted(INFRA.glob("compose*.yaml"))

# ${NAME}, ${NAME:-default} and ${NAME:?message}; $${...} is a shell's own.
VARIABLE = re.compile(r"(?<!\$)\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY")
TELEMETRY_OFF = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "true",
}


def compose(path: Path = INFRA / "compose.yaml") -> dict[str, Any]:
    """The file as it stands, with its merges done."""
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def example() -> dict[str, str]:
    """The variables of .env.example."""
    lines = (INFRA / ".env.example").read_text(encoding="utf-8").splitlines()
    assigned = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in assigned}


def filled_in(text: Any) -> str:
    """As Compose would read it, with every variable that has no default set to its own name."""
    return VARIABLE.sub(
        lambda match: match["rest"] if match["kind"] == "-" else match["name"], str(text)
    )


def is_ours(service: Mapping[str, Any]) -> bool:
    return str(service["image"]).startswith("isthmus:")


def is_one_shot(service: Mapping[str, Any]) -> bool:
    return bool(service["restart"] == "no")


def command(name: str) -> list[str]:
    return [filled_in(word) for word in services()[name]["command"]]


def options(name: str) -> dict[str, str]:
    """The flags of a service's command that hold a value."""
    return dict(
        word.split("=", 1) for word in command(name) if word.startswith("-") and "=" in word
    )


@cache
def instructions() -> tuple[tuple[str, str], ...]:
    """The Dockerfile's instructions and what they say, with continued lines joined."""
    lines = DOCKERFILE.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))
    pairs = (line.split(maxsplit=1) for line in text.replace("\\\n", " ").splitlines())
    return tuple((keyword, " ".join(rest.split())) for keyword, rest in pairs)


def said(keyword: str) -> list[str]:
    return [rest for each, rest in instructions() if each == keyword]


def arguments() -> dict[str, str]:
    return dict(" ".join(shlex.split(each)).split("=", 1) for each in said("ARG"))


def image_environment() -> dict[str, str]:
    return dict(word.split("=", 1) for line in said("ENV") for word in shlex.split(line))


@cache
def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def constrained() -> set[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {line.partition("==")[0] for line in lines if line and not line.startswith("#")}
