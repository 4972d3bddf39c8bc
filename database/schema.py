"""The version of the tables: made for a new database, brought up to date for an older one, refused otherwise."""

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from database.session import Storage
from evolve.errors import StoreError

#: Where Alembic finds env.py and the versions: a folder inside a package, so that it works from a wheel too.
MIGRATIONS = "database:migrations"


def prepare(storage: Storage, migrations: str = MIGRATIONS) -> None:
    """Bring the tables to the newest version, all in one transaction; only one process does so at a time.

    Raises:
        StoreError: The database fails, is of a newer version of this program, or holds another program's tables.
    """
    scripts = ScriptDirectory.from_config(_config(migrations))
    with storage.reading() as connection:
        if _revision(connection) == scripts.get_current_head():
            return
    with storage.migrating() as connection:
        revision = _revision(connection)
        if revision is None and inspect(connection).has_table("runs"):
            raise StoreError(f"the database {storage.where} holds tables of another program: choose another database")
        if revision is not None and revision not in {script.revision for script in scripts.walk_revisions()}:
            raise StoreError(
                f"the database {storage.where} has version {revision}, which this program does not know:"
                " install the newest thetaevolve (git pull, in its checkout), or choose another database"
            )
        upgrade(connection, "head", migrations)


def check(storage: Storage) -> None:
    """Refuse a database that is not of the newest version, for a program that only reads.

    Raises:
        StoreError: The database fails or is of another version.
    """
    scripts = ScriptDirectory.from_config(_config(MIGRATIONS))
    newest = scripts.get_current_head()
    with storage.reading() as connection:
        found = _revision(connection)
    if found == newest:
        return
    if found in {script.revision for script in scripts.walk_revisions()}:
        cure = "`evolve show` of one of its runs brings it up to date, once no older program works on it"
    else:
        cure = "install the newest thetaevolve, or name another run"
    raise StoreError(f"the database {storage.where} has version {found}, and this program reads {newest}: {cure}")


def upgrade(connection: Connection, revision: str, migrations: str = MIGRATIONS) -> None:
    """Go up to `revision` ("head" is the newest) in a transaction of `Storage.migrating`."""
    command.upgrade(_config(migrations, connection), revision)


def downgrade(connection: Connection, revision: str, migrations: str = MIGRATIONS) -> None:
    """Go back to `revision` ("base" has no tables) in a transaction of `Storage.migrating`; what it drops is lost."""
    command.downgrade(_config(migrations, connection), revision)


def _config(migrations: str, connection: Connection | None = None) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", migrations.replace("%", "%%"))
    return config


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
