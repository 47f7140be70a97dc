"""Rows of a query to the stack's Postgres: streamed, read-only, with the password in no run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psycopg2
import pytest
import sqlalchemy

from isthmus.data import read_rows
from isthmus.data.tables.sql import Sql
from isthmus.errors import DataError
from isthmus.jobs.preparation import prepare
from isthmus.jobs.specs import check_job
from isthmus.jobs.train import train
from isthmus.registry import load
from isthmus.spec import DataSpec, Settings
from isthmus.stack.place import State
from isthmus.stack.postgres import database_uri
from tests.servers.stack import StackServers

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(RNG.normal(size=(400, 3)).astype(np.float32), columns=list("abc"))


@pytest.fixture(scope="module")
def address(stack: StackServers) -> Iterator[str]:
    """The URL of the stack's database for a user who has a password, and a table of rows."""
    uri = sqlalchemy.make_url(database_uri(State(stack.folder).place()))
    plain = uri.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg2.connect(plain) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE readings (a real, b double precision, c numeric, colour text)")
        for number, row in enumerate(FRAME.itertuples(index=False)):
            cursor.execute(
                "INSERT INTO readings VALUES (%s, %s, %s, %s)",
                (*map(float, row), ["red", "green"][number % 2]),
            )
    assert uri.password is not None
    yield plain
    with psycopg2.connect(plain) as connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE readings")


def password_of(address: str) -> str:
    return str(sqlalchemy.make_url(address).password)


def test_the_rows_of_a_query_are_those_of_the_table(address: str) -> None:
    query = "SELECT a, b, c FROM readings"
    rows, _ = read_rows(DataSpec(path=address, query=query))
    assert len(rows) == 400
    np.testing.assert_allclose(rows.values, FRAME.to_numpy(), rtol=1e-5, atol=1e-6)
    rows, spec = read_rows(DataSpec(path=address, query="TABLE readings", categories=("colour",)))
    assert rows.schema.features == ("a", "b", "c", "colour=green", "colour=red")
    assert spec.categories == {"colour": ("green", "red")}


def test_a_query_cannot_change_anything(address: str) -> None:
    with pytest.raises(DataError, match="starts with SELECT"):
        read_rows(DataSpec(path=address, query="DELETE FROM readings RETURNING a, b"))
    assert len(read_rows(DataSpec(path=address, query="SELECT a, b FROM readings"))[0]) == 400


READ_WRITE = "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE"
DELETE = "DELETE FROM readings"


@pytest.mark.parametrize(
    "query",
    [
        f"SELECT a, b FROM readings; COMMIT; {DELETE}",
        f"SELECT a, b FROM readings; COMMIT; {READ_WRITE}; {DELETE}",
        f"SET TRANSACTION READ WRITE; {DELETE}",
        f"SELECT a, b FROM readings) AS r; COMMIT; {DELETE}; SELECT * FROM (SELECT 1",
        f"SELECT '\\'; COMMIT; {READ_WRITE}; {DELETE}; --'",
        f"SELECT E'a'\n'\\''; COMMIT; {READ_WRITE}; {DELETE}; --'",
        f"SELECT 1 AS a$$; COMMIT; {READ_WRITE}; {DELETE}; SELECT 2 AS a$$",
        f"SELECT 1 --\r; COMMIT; {READ_WRITE}; {DELETE}",
        f"WITH gone AS ({DELETE} RETURNING a, b) SELECT * FROM gone",
        f"SELECT set_config('transaction_read_only', 'off', false)::int AS a; {DELETE}",
        "SELECT a, b INTO copies FROM readings",
        READ_WRITE,
        "COMMIT",
        "COPY readings TO PROGRAM 'true'",
    ],
)
def test_no_trick_of_a_query_changes_the_table(address: str, query: str) -> None:
    with pytest.raises(DataError) as caught:
        read_rows(DataSpec(path=address, query=query))
    assert "\n" not in str(caught.value)
    assert len(read_rows(DataSpec(path=address, query="SELECT a, b FROM readings"))[0]) == 400


def test_the_session_stays_read_only_after_its_first_transaction(address: str) -> None:
    """What keeps a second statement from writing, should one ever slip through."""
    table = Sql(address, "readings", DataSpec(path=address, query="SELECT 1"))
    with table._connected() as connection:
        connection.exec_driver_sql("COMMIT")
        with pytest.raises(sqlalchemy.exc.InternalError, match="read-only transaction"):
            connection.exec_driver_sql(DELETE)


def test_a_semicolon_in_a_text_or_a_comment_ends_no_query(address: str) -> None:
    query = "SELECT a, b /* all; */ FROM readings WHERE colour <> ';' AND colour <> $$;$$ -- ;"
    assert len(read_rows(DataSpec(path=address, query=f"{query}\n;"))[0]) == 400


def test_a_server_that_ends_the_connection_is_told_in_one_line(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    query = "SELECT a, pg_terminate_backend(pg_backend_pid())::int FROM readings"
    with pytest.raises(DataError, match="the database says: ") as caught:
        read_rows(DataSpec(path=address, query=query))
    assert "\n" not in str(caught.value)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("change", "query", "message"),
    [
        (lambda url: re.sub(r":\d+/", ":1/", url), "SELECT 1", "the database says: .*refused"),
        (lambda url: url, "SELECT a FROM elsewhere", 'relation "elsewhere" does not exist'),
        (lambda url: url, "SELECT a FROM readings WHERE a > 1e9", "no rows"),
    ],
    ids=["no server", "no table", "no rows"],
)
def test_what_a_database_says_is_one_line_without_the_password(
    address: str, change, query: str, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_rows(DataSpec(path=change(address), query=query))
    assert "\n" not in str(caught.value)
    assert password_of(address) not in str(caught.value)


def test_a_pair_is_trained_on_a_query_and_knows_no_password(address: str, here: Path) -> None:
    job = check_job(
        {
            "name": "plant",
            "data": {"path": address, "query": "SELECT a, b, c FROM readings"},
            "latent_dim": 2,
            "training": {"epochs": 2},
        }
    )
    with_file = FRAME.copy()
    with_file.to_parquet("rows.parquet", index=False)
    assert (
        prepare(job).split_sizes
        == prepare(
            check_job({"name": "plant", "data": {"path": "rows.parquet"}, "latent_dim": 2})
        ).split_sizes
    )
    train(job, Settings.from_environment())
    pair = load("plant/1", Settings.from_environment())
    password = password_of(address)
    assert password not in pair.manifest.model_dump_json()
    assert pair.manifest.data.shown_path.startswith("postgresql://")
    for file in here.rglob("*"):
        if file.is_file():
            assert password.encode() not in file.read_bytes(), file
