"""The first ten minutes of a new user: `python -m benchmarks.demo [FOLDER]`.

Clones the repository into an empty folder, types `make demo` there with an empty home folder, so that nothing is cached
but what pip keeps for the machine, and watches the run's database. What is printed: the time from typing the command to
the first completion and to the first child that is better than the seed program, and what was found.
"""

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def ask(database: Path, query: str) -> list[tuple[object, ...]]:
    """Return the rows of a query, or none while the database is not there yet."""
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []


def main() -> None:
    """Run the demo and print when what happened."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    clone, home = folder / "clone", folder / "home"
    home.mkdir(parents=True)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    environment = {**os.environ, "HOME": str(home)}  # noqa: TID251 - the user's own, with an empty home folder
    started = time.monotonic()
    with (folder / "log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(["make", "demo"], cwd=clone, env=environment, stdout=log, stderr=subprocess.STDOUT)
    seen: dict[str, float] = {}
    moments = {
        "the environment is ready": lambda: list(clone.glob(".venv/.ready-*")),
        "the seed program is stored": lambda: ask(database, "select 1 from attempts"),
        "first completion": lambda: ask(database, "select 1 from attempts where id > 0"),
        "first child better than the seed program": lambda: ask(
            database, "select 1 from programs where score < (select score from programs where id = 0)"
        ),
    }
    while process.poll() is None:
        database = next(iter(clone.glob("runs/*/evolve.db")), clone / "absent")
        for name, happened in moments.items():
            if name not in seen and happened():
                seen[name] = time.monotonic() - started
                print(f"{seen[name] / 60:6.1f} min  {name}", flush=True)
        time.sleep(0.5)
    print(
        f"{(time.monotonic() - started) / 60:6.1f} min  the end, exit code {process.returncode}; load {os.getloadavg()}"
    )
    print((folder / "log").read_text(encoding="utf-8")[-1500:])


if __name__ == "__main__":
    main()
