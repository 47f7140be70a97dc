"""The compose file: there is no Docker where the tests run, so what can be read is held."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatch

import pytest
import yaml

from isthmus.spec import Settings
from tests.unit.infra.reading import (
    COMPOSE_FILES,
    INFRA,
    SECRET,
    TELEMETRY_OFF,
    VARIABLE,
    command,
    compose,
    example,
    filled_in,
    image_environment,
    is_one_shot,
    is_ours,
    options,
    said,
    services,
)


def uses() -> Iterator[re.Match[str]]:
    for path in COMPOSE_FILES:
        yield from VARIABLE.finditer(path.read_text(encoding="utf-8"))


def test_every_variable_is_explained_in_the_example_and_used() -> None:
    assert {use["name"] for use in uses()} == set(example())


def test_the_example_says_what_the_defaults_are() -> None:
    defaults = {(use["name"], use["rest"]) for use in uses() if use["kind"] == "-"}
    assert {name: example()[name] for name, _ in defaults} == dict(defaults)
    assert len(defaults) == len(dict(defaults)), "one variable has two defaults"


def test_no_secret_has_a_default() -> None:
    secrets = [use for use in uses() if SECRET.search(use["name"])]
    assert len({use["name"] for use in secrets}) == 7
    assert {use["kind"] for use in secrets} == {"?"}
    assert {use["rest"] for use in secrets} == {
        f"set {use['name']} in infra/.env" for use in secrets
    }
    # An access key is a name, not a secret.
    empty = {name for name, value in example().items() if not value}
    assert empty == {use["name"] for use in secrets} - {"S3_ACCESS_KEY"}


def test_no_secret_is_written_out() -> None:
    for name, service in services().items():
        for variable, value in service.get("environment", {}).items():
            if SECRET.search(variable):
                assert VARIABLE.fullmatch(value), f"{name}: {variable}"
            assert not re.search(r"://[^/@]*:[^/@]*@", str(value)), f"{name}: {variable}"


def test_git_ignores_the_file_of_secrets() -> None:
    assert ".env" in (INFRA / ".gitignore").read_text(encoding="utf-8").split()


def test_ports_are_those_of_this_machine_alone() -> None:
    published = [port for service in services().values() for port in service.get("ports", ())]
    assert len(published) == 4
    for port in published:
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", filled_in(port)), port


def test_the_password_free_parts_of_the_store_stay_in_their_container() -> None:
    flags = options("s3")
    assert flags["-ip"] == flags["-ip.bind"] == "127.0.0.1"
    assert flags["-s3.ip.bind"] == "0.0.0.0"


@pytest.mark.parametrize("name", services())
def test_a_service_that_stays_is_watched_and_comes_back(name: str) -> None:
    service = services()[name]
    if is_one_shot(service):
        assert "healthcheck" not in service
        return
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])


@pytest.mark.parametrize("name", services())
def test_what_a_service_waits_for_can_happen(name: str) -> None:
    for other, wait in services()[name].get("depends_on", {}).items():
        wanted = (
            "service_completed_successfully"
            if is_one_shot(services()[other])
            else "service_healthy"
        )
        assert wait["condition"] == wanted, other


def test_an_override_names_services_that_exist() -> None:
    for path in COMPOSE_FILES:
        assert set(compose(path)["services"]) <= set(services()), path.name


def test_nobody_is_told_that_it_runs() -> None:
    assert TELEMETRY_OFF.items() <= image_environment().items()
    for name, service in services().items():
        for variable, value in TELEMETRY_OFF.items():
            assert service.get("environment", {}).get(variable, value) == value, name
    assert "-master.telemetry=false" in command("s3")
    assert "--analytics-off" in command("prefect-server")
    for name in ("ray-head", "ray-worker"):
        assert "--disable-usage-stats" in command(name)


def test_our_image_runs_as_nobody_special_below_a_process_that_reaps() -> None:
    assert said("USER") == ["isthmus"]
    assert json.loads(said("ENTRYPOINT")[0])[0] == "tini"
    for name, service in services().items():
        assert not is_ours(service) or service["cap_drop"] == ["ALL"], name
        assert "user" not in service, name
        assert not service.get("privileged", False), name


def test_one_service_builds_our_image_and_none_pulls_it() -> None:
    assert [name for name, service in services().items() if "build" in service] == ["bucket"]
    for name, service in services().items():
        assert not is_ours(service) or service["pull_policy"] == "never", name


@pytest.mark.parametrize("name", ["ray-head", "ray-worker", "schedules"])
def test_every_node_of_the_cluster_finds_the_stores_and_has_the_token(name: str) -> None:
    environment = services()[name]["environment"]
    settings = Settings.from_environment(
        {key: filled_in(each) for key, each in environment.items()}
    )
    assert settings.tracking_uri == "http://mlflow:5000"
    assert settings.storage_path == "s3://isthmus/runs"
    assert environment["AWS_ENDPOINT_URL"] == "http://s3:8333"
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_AUTH_TOKEN"].startswith("${RAY_AUTH_TOKEN:?")


def test_mlflow_answers_by_the_names_it_is_called_by() -> None:
    allowed = options("mlflow")["--allowed-hosts"].split(",")
    for host in ("mlflow:5000", "localhost:5000", "127.0.0.1:5000"):
        assert any(fnmatch(host, pattern) for pattern in allowed), host
    assert "*" not in allowed


def test_services_call_each_other_by_name_and_port() -> None:
    called = re.findall(
        r"(?:@|//|address=|ADDRESS: )([a-z][a-z0-9-]*):(\d+)\b", yaml.dump(services())
    )
    listening = {
        "postgres": "5432",
        "s3": options("s3")["-s3.port"],
        "mlflow": options("mlflow")["--port"],
        "ray-head": options("ray-head")["--port"],
        "prefect-server": options("prefect-server")["--port"],
    }
    assert {name for name, _ in called} == set(listening)
    assert set(called) == set(listening.items())


def test_each_database_is_made_for_the_role_that_connects_to_it() -> None:
    made = dict(
        re.findall(
            r"CREATE DATABASE (\w+) OWNER (\w+);", (INFRA / "postgres/init.sql").read_text("utf-8")
        )
    )
    connected = re.findall(r"postgresql\+\w+://(\w+)@postgres:5432/(\w+)", yaml.dump(services()))
    assert {database: role for role, database in connected} == made
    given = services()["postgres"]["environment"]
    for variable in re.findall(r"\\getenv \w+ (\w+)", (INFRA / "postgres/init.sql").read_text()):
        assert variable in given


def mounts() -> list[tuple[str, str]]:
    """Source and target of every mount."""
    volumes = [each for service in services().values() for each in service.get("volumes", ())]
    return [tuple(filled_in(each).split(":")[:2]) for each in volumes]  # type: ignore[misc]


def test_what_is_mounted_exists() -> None:
    for source, _ in mounts():
        if source.startswith("."):
            assert (INFRA / source).exists(), source
        else:
            assert source in compose()["volumes"], source
    assert set(compose()["volumes"]) == {source for source, _ in mounts() if source[0] != "."}


def test_what_is_run_from_a_mount_is_mounted() -> None:
    targets = {target for _, target in mounts()}
    for service in services().values():
        for word in [*service.get("entrypoint", ()), *service.get("command", ())]:
            if word.startswith("/"):
                assert word in targets or word.startswith("/bin/"), word
