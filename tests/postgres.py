"""Fresh PostgreSQL databases for tests, on the server that `--postgres-url` names."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import create_engine, make_url, text


@contextmanager
def postgres_database(config: pytest.Config, *, like: str | None = None) -> Iterator[str]:
    """Give the URL of a fresh database, which is dropped at the end; skip the test where there is no server.

    Args:
        config: Of the test session.
        like: The URL of a database to copy, which nobody is connected to; an empty one if not given.
    """
    server = config.getoption("--postgres-url")
    if server is None:
        pytest.skip("needs a PostgreSQL server: pytest --postgres-url=postgresql+psycopg://USER@HOST/postgres")
    name = f"thetaevolve_test_{uuid.uuid4().hex[:12]}"
    copied = "template1" if like is None else make_url(like).database
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {copied}"))
        try:
            yield make_url(server).set(database=name).render_as_string(hide_password=False)
        finally:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()
