"""Prefect's API for schedules, of the server in `PREFECT_API_URL` or of one started here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock

from isthmus.extras import check_installed
from isthmus.servers import free_port, run_server
from isthmus.spec import Settings
from isthmus.stack.place import HOST
from isthmus.stack.prefect_server import prefect_command, prefect_environment


@contextmanager
def prefect_api(settings: Settings) -> Iterator[str]:
    """Yields the address of Prefect's API, and sets `PREFECT_API_URL` to it.

    If the variable is not set, a server on a SQLite file in Isthmus's home runs for the time of the
    block. If another process of this home already runs one, that is used.

    Raises:
        MissingExtra: If Prefect is not installed.
        IsthmusError: If the server does not start.
    """
    check_installed("prefect", "schedule", needed_by="isthmus schedule")
    named = os.environ.get("PREFECT_API_URL")
    if named:
        yield named
        return
    folder = settings.home / "prefect"
    folder.mkdir(parents=True, exist_ok=True)
    address = folder / "api-url"
    lock = FileLock(folder / "server.lock")
    try:
        lock.acquire(timeout=0)
    except TimeoutError:
        # Another process of this home runs the server, and wrote its address before it ran
        # anything.
        with _api_url(address.read_text(encoding="utf-8")) as url:
            yield url
        return
    port = free_port(HOST)
    url = f"http://{HOST}:{port}/api"
    try:
        with (
            run_server(
                "Prefect server",
                prefect_command(port),
                health=f"{url}/health",
                log=settings.log_file.with_name("prefect-server.log"),
                environment=prefect_environment(folder),
            ),
            _api_url(url),
        ):
            address.write_text(url, encoding="utf-8")
            yield url
    finally:
        address.unlink(missing_ok=True)
        lock.release()


@contextmanager
def _api_url(url: str) -> Iterator[str]:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    # The variable is for processes that Prefect starts. In this process Prefect has read its
    # settings when it was imported, to check the crons of the schedules.
    os.environ["PREFECT_API_URL"] = url
    try:
        with temporary_settings({PREFECT_API_URL: url}):
            yield url
    finally:
        del os.environ["PREFECT_API_URL"]
