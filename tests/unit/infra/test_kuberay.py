"""The RayService: there is no Kubernetes where the tests run, so what can be read is held."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.unit.infra.reading import INFRA

# KubeRay's own definitions, which are about 1 MiB each and therefore not in this repository.
SCHEMAS = Path(__file__).parents[4] / "shared" / "schemas" / "kuberay"


@pytest.fixture
def manifest() -> dict[str, Any]:
    return yaml.safe_load((INFRA / "kuberay" / "rayservice.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def config(manifest: dict[str, Any]) -> dict[str, Any]:
    return yaml.safe_load(manifest["spec"]["serveConfigV2"])


def closed(schema: Any) -> Any:
    """Returns a schema that refuses fields that it does not name, as the API server drops them."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(value) for name, value in schema.items()}
    if isinstance(found.get("properties"), dict) and found.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found


@pytest.mark.skipif(not SCHEMAS.is_dir(), reason="KubeRay's definitions are not on this machine")
def test_the_manifest_is_what_kuberay_takes(manifest):
    crd = yaml.safe_load((SCHEMAS / "ray.io_rayservices.yaml").read_text(encoding="utf-8"))
    (version,) = (each for each in crd["spec"]["versions"] if each["name"] == "v1")
    schema = version["schema"]["openAPIV3Schema"]
    spec = closed(schema["properties"]["spec"])
    jsonschema.Draft202012Validator(schema).validate(manifest)
    jsonschema.Draft202012Validator(spec).validate(manifest["spec"])


def test_the_configuration_is_what_ray_serve_takes(config):
    from ray.serve.schema import ServeDeploySchema

    (application,) = ServeDeploySchema.model_validate(config).applications
    assert application.import_path == "isthmus.serve.application:build"


def test_its_arguments_are_options_of_a_service_and_name_its_deployments(config, monkeypatch):
    from ray.serve import Application
    from ray.serve.schema import ServeDeploySchema

    from isthmus.serve.application import build

    monkeypatch.setenv("ISTHMUS_SERVE_TOKEN", "a-token")
    (application,) = ServeDeploySchema.model_validate(config).applications
    assert isinstance(build(application.args), Application)
    (deployment,) = application.deployments
    assert deployment.name == "pair"
    assert deployment.user_config["model"] == application.args["model"]


def test_the_token_comes_from_a_secret_and_usage_is_not_reported(manifest):
    cluster = manifest["spec"]["rayClusterConfig"]
    head = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]
    worker = cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    for container in (head, worker):
        said = {each["name"]: each for each in container["env"]}
        assert "value" not in said["ISTHMUS_SERVE_TOKEN"]
        assert said["ISTHMUS_SERVE_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == "isthmus-serve"
        assert said["RAY_USAGE_STATS_ENABLED"]["value"] == "0"
        assert said["MLFLOW_DISABLE_TELEMETRY"]["value"] == "true"
