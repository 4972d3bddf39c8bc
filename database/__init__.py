"""Every run, prompt, reply, program and evaluation, in SQLite or any database that SQLAlchemy speaks to.

`open_database` is the way in; `README.md` beside this file says what is stored and what survives what.
"""

from database.repository import Database, open_database
from database.store import RunStore

__all__ = ["Database", "RunStore", "open_database"]
