"""Settings of the whole suite, and the databases that it runs on."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import settings
from postgres import postgres_database
from sqlalchemy import make_url

from database import open_database

# How long an example takes says more about the machine than about the code.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


@contextmanager
def _sqlite(_: pytest.Config, folder: Path, like: str | None) -> Iterator[str]:
    path = folder / "evolve.db"
    if like is not None:
        shutil.copy(str(make_url(like).database), path)
    yield f"sqlite:///{path}"


@contextmanager
def _postgres(config: pytest.Config, _: Path, like: str | None) -> Iterator[str]:
    with postgres_database(config, like=like) as url:
        yield url


#: Each gives the URL of a fresh database, empty or a copy of another; a new backend is one more line.
BACKENDS: dict[str, Callable[[pytest.Config, Path, str | None], AbstractContextManager[str]]] = {
    "sqlite": _sqlite,
    "postgres": _postgres,
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the caller name a PostgreSQL server."""
    parser.addoption(
        "--postgres-url",
        help="a server where tests may make databases: postgresql+psycopg://USER@HOST/postgres; "
        "nothing is tested with PostgreSQL without it",
    )


def pytest_report_header(config: pytest.Config) -> str:
    """Say whether PostgreSQL is tested."""
    there = config.getoption("--postgres-url") is not None
    return f"postgresql: {'tested' if there else 'not tested, for want of --postgres-url'}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that takes a database of each kind on all kinds that there are."""
    there = metafunc.config.getoption("--postgres-url") is not None
    kinds = [kind for kind in BACKENDS if there or kind != "postgres"]
    for name in {"empty_database", "made_database"} & set(metafunc.fixturenames):
        metafunc.parametrize(name, kinds, indirect=True)


@pytest.fixture
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of each kind without any tables."""
    with BACKENDS[request.param](request.config, tmp_path, None) as url:
        yield url


@pytest.fixture(scope="session")
def _patterns(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], str]]:
    """Give the URL of a database of a kind that has the tables, made once."""
    made: dict[str, str] = {}
    with ExitStack() as stack:

        def pattern(kind: str) -> str:
            if kind not in made:
                folder = tmp_path_factory.mktemp("pattern")
                made[kind] = stack.enter_context(BACKENDS[kind](request.config, folder, None))
                open_database(made[kind]).close()
            return made[kind]

        yield pattern


@pytest.fixture
def made_database(request: pytest.FixtureRequest, tmp_path: Path, _patterns: Callable[[str], str]) -> Iterator[str]:
    """The URL of a database of each kind whose tables were made before, without rows."""
    with BACKENDS[request.param](request.config, tmp_path, _patterns(request.param)) as url:
        yield url


@pytest.fixture(scope="session")
def model_cache() -> Path:
    """Where a user's models are kept too, so that the small model is fetched once a machine, not once a test run."""
    return Path("~/.cache/thetaevolve").expanduser()
