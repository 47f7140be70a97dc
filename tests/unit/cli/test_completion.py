"""What the shell offers, asked as bash asks: by environment variables, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from isthmus import aliases
from isthmus.cli import completion

_ASK = "import sys; sys.argv = ['isthmus']; from isthmus.__main__ import main; main()"


def offered(line: str, folder: Path, **environment: str) -> list[str]:
    """What `isthmus LINE<TAB>` offers in a folder."""
    words = f"isthmus {line}"
    done = subprocess.run(
        [sys.executable, "-c", _ASK],
        cwd=folder,
        env={
            **os.environ,
            "_ISTHMUS_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_pairs_versions_and_aliases_of_the_store_are_offered(register, settings, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    for seed in range(2):
        register("typed", seed)
    aliases.promote("typed", 1, settings, "canary")
    assert "typed" in completion.pairs("ty")
    assert completion.versions("typed/") == ["typed/2", "typed/1"]
    assert completion.references("typed@") == ["typed@canary"]
    assert completion.aliases("ca") == ["canary"]
    assert completion.pairs("nobody") == []
    shell = offered("gate typed/", settings.home.parent)
    assert shell == ["typed/2", "typed/1"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("variants vq", ["vqvae"]),
        ("nets drun", ["drunet"]),
        ("train job.yaml --set training.epo", ["training.epochs="]),
        ("train job.yaml --set data.kin", ["data.kind="]),
        ("schedule run night", ["nightly"]),
        ("models ", []),
        ("promote ", []),
    ],
)
def test_without_a_store_the_rest_is_offered_and_nothing_is_created(line, found, tmp_path):
    folder = tmp_path / "pipelines"
    folder.mkdir()
    (folder / "schedules.yaml").write_text(
        "schedules:\n  - {name: nightly, job: job.yaml, cron: '0 3 * * *'}\n"
    )
    (folder / "job.yaml").write_text("name: a\ndata: x.csv\n")
    assert offered(line, tmp_path) == found
    assert [each.name for each in tmp_path.iterdir()] == ["pipelines"]


def test_values_of_a_field_are_offered_after_the_equals_sign():
    assert completion.fields("training.schedule=c") == [
        "training.schedule=constant",
        "training.schedule=cosine",
    ]
    assert "variant=vae" in completion.fields("variant=v")
    assert "net=conv" in completion.fields("net=")
    assert "training.early_stopping.patience=" in completion.fields("training.early")


def test_a_server_is_asked_and_one_that_is_away_offers_nothing(monkeypatch):
    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"registered_models": [{"name": "far-encoder", "aliases": ['
            body += b'{"alias": "champion", "version": "2"}]}, {"name": "far-decoder"}]}'
            if "model-versions" in self.path:
                body = b'{"model_versions": [{"version": "1"}, {"version": "2"}]}'
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *said: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        assert completion.pairs("") == ["far"]
        assert completion.references("far") == ["far@champion", "far/2", "far/1"]
        server.shutdown()
    assert completion.pairs("") == []
