"""Versions and runs are deleted from Postgres and S3, through the MLflow server."""

from __future__ import annotations

import pytest

import isthmus as package
from isthmus import aliases, registry
from isthmus.registry import register_pair
from isthmus.tracking import open_store
from tests.untrained import untrained_pair

pytestmark = pytest.mark.slow


def test_a_served_store_is_pruned_with_its_files(stack, s3, tmp_path):
    settings = stack.settings(tmp_path)
    for seed in range(3):
        register_pair(untrained_pair("pruned", settings, seed), settings)
    aliases.promote("pruned", 1, settings)
    client = open_store(settings)
    failed = untrained_pair("pruned", settings, 9).run_id
    client.log_text(failed, "a log", "log.txt")
    client.set_terminated(failed, "FAILED")
    gone = {each.version: each for each in registry.list_versions("pruned", settings)}[2]
    models = registry.resolve("pruned/2", settings).manifest.models.values()

    def objects() -> list[str]:
        found = s3.client().list_objects_v2(Bucket="isthmus", Prefix="mlflow/")
        return [each["Key"] for each in found.get("Contents", [])]

    def of_deleted() -> list[str]:
        ids = (*models, gone.run_id, failed)
        return [key for key in objects() if any(each in key for each in ids)]

    assert of_deleted()
    done = package.prune("pruned", keep=1, runs=True, settings=settings)
    # The newest run is the failed one, and the older ones are those of the versions.
    assert done.deleted == ("pruned/2",)
    assert [each.why for each in done.spared] == [
        "it is champion",
        "it made pruned/3",
        "it made pruned/1",
    ]
    package.prune("pruned", keep=0, runs=True, settings=settings)
    assert of_deleted() == []
    assert [each.version for each in registry.list_versions("pruned", settings)] == [1]
    assert registry.load("pruned/1", settings).reference == "pruned/1"
    assert client.get_run(failed).info.lifecycle_stage == "deleted"
