"""What the tests of the store share: a database of each kind, and a run in it."""

from collections.abc import Iterator

import pytest
from attempts import new_run

from database import Database, RunStore, open_database


@pytest.fixture
def url(made_database: str) -> str:
    """The URL of a fresh database of each kind."""
    return made_database


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """An open database."""
    with open_database(url) as database:
        yield database


@pytest.fixture
def run(database: Database) -> RunStore:
    """A run whose seed program, of score 1, is a member."""
    return new_run(database, "/runs/one")
