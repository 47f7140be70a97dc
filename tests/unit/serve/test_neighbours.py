"""What a new service may not take from those that a cluster serves already."""

from __future__ import annotations

import pytest
from ray.serve.schema import ServeInstanceDetails

from isthmus.errors import UsageError
from isthmus.serve.neighbours import Neighbours
from isthmus.serve.options import Place

HERE = {"host": "127.0.0.1", "port": 8000}


def serving(routes: dict[str, str]) -> Neighbours:
    """Returns the Ray Serve of a cluster with applications at these routes."""
    applications = {
        name: {
            "name": name,
            "route_prefix": route,
            "docs_path": None,
            "status": "RUNNING",
            "message": "",
            "last_deployed_time_s": 0.0,
            "source": "imperative",
            "deployments": {},
            "external_scaler_enabled": False,
        }
        for name, route in routes.items()
    }
    found = {"http_options": HERE, "proxies": {}, "applications": applications}
    return Neighbours(ServeInstanceDetails.model_validate(found))


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("isthmus-b", {"port": 8001}, "use --host 127.0.0.1 --port 8000 and a --route of its own"),
        ("isthmus-b", {}, "--route / is that of isthmus-a .* as in --route /b"),
        (
            "isthmus-a",
            {"route": "/a"},
            "^a is served on this cluster already, at route /; .*--repl",
        ),
    ],
    ids=["another port", "the same route", "the same model"],
)
def test_what_another_service_has_is_refused_in_one_line(name, asked, said):
    with pytest.raises(UsageError, match=said) as refused:
        serving({"isthmus-a": "/"}).check(name, Place(**{**HERE, **asked}))
    assert "\n" not in str(refused.value)


def test_a_service_has_its_place_beside_others_or_in_the_place_of_its_own_model():
    neighbours = serving({"isthmus-a": "/"})
    neighbours.check("isthmus-b", Place(**HERE, route="/b"))
    neighbours.check("isthmus-a", Place(**HERE, replace=True))
    with pytest.raises(UsageError, match="is that of isthmus-a"):
        neighbours.check("isthmus-b", Place(**HERE, replace=True))
    Neighbours(None).check("isthmus-a", Place(**HERE))
