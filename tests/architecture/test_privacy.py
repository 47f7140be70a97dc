"""Nobody is told that Isthmus was run."""

from __future__ import annotations

import json

import pytest

from tests.architecture.source import fresh_python

OFF = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "true",
}
AT_THE_END = "import json, os; print(json.dumps(dict(os.environ)))"


@pytest.fixture(autouse=True)
def _environment_of_a_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OFF:
        monkeypatch.delenv(name, raising=False)


def reporting(environment: str) -> dict[str, str | None]:
    found = json.loads(environment.splitlines()[-1])
    return {name: found.get(name) for name in OFF}


def test_usage_reporting_is_off_once_we_are_quiet() -> None:
    code = f"from isthmus.quiet import quieten; quieten(); {AT_THE_END}"
    assert reporting(fresh_python(code)) == OFF


def test_what_the_user_chose_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    code = f"from isthmus.quiet import quieten; quieten(); {AT_THE_END}"
    assert reporting(fresh_python(code)) == {**OFF, "RAY_USAGE_STATS_ENABLED": "1"}
