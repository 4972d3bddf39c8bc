"""Does a run survive `kill -9`, again and again?

    python -m benchmarks.durability [--kills 200] [--seed 0] [--url postgresql+psycopg://...]

Starts a search with recorded completions, the real sandbox and the real database, kills its process at a random moment,
resumes it, and so on: most moments lie in the search, one in five anywhere from the start of the process. The problem's
verifier writes down when it judged which answer, so that it is known from outside what had been evaluated. After each
kill the benchmark checks that

* every answer that was judged more than a second before the kill is in the database (`lost`); seconds count only
  while this process, too, was served, so that a stall of the whole machine is not held against the run,
* every row that was there after the kill before is there unchanged (`changed`), and none stands twice (`twice`),
* the database has no fault that it can find itself (`faults`: SQLite's integrity and foreign-key checks).

At the end the run is resumed to a few steps more, without a kill, and its best is compared with the rows' best.
"""

import argparse
import bisect
import contextlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import MetaData, create_engine, select, text
from sqlalchemy.engine import Connection, Engine

ROOT = Path(__file__).parents[1]
TRIVIAL = Path(__file__).parent / "trivial"
PARENTS, SAMPLES = 2, 4
COMPLETIONS = 20_000
#: An evaluated program is in the database within this long.
DURABLE_S = 1.0
TICK_S = 0.01
#: A resumed run is given this long to evaluate something.
START_S = 120.0

VERIFY = """
import time
from pathlib import Path

from evolve.types import Verdict


def verify(construction):
    if type(construction) is not int:
        return Verdict(valid=False, reason="not an int")
    with Path(__file__).parents[1].joinpath("judged").open("a") as file:
        file.write(f"{time.monotonic()} {construction}\\n")
    return Verdict(valid=True, score=float(construction), exact=str(construction), construction=construction)
"""


@dataclass(slots=True, kw_only=True)
class Figures:
    """What the kills did; every number but `kills` and `attempts` should be 0."""

    kills: int = 0
    attempts: int = 0
    lost: int = 0
    changed: int = 0
    twice: int = 0
    faults: int = 0
    refused: int = 0  #: processes that ended by themselves, with an error
    moments: Counter[str] = field(default_factory=Counter)


Rows = dict[tuple[object, ...], tuple[object, ...]]


class Search:
    """A run that is killed again and again.

    Args:
        folder: Where the run, its problem and its completions are made.
        rng: Draws the completions and the moments.
        url: The database; one in the run's folder if not given.
    """

    def __init__(self, folder: Path, rng: random.Random, url: str | None = None) -> None:
        self._rng = rng
        self._run = folder / "run"
        self._problem = folder / "trivial"
        self._problem.mkdir()
        for name in ("problem.yaml", "seed.py"):
            (self._problem / name).write_text((TRIVIAL / name).read_text(encoding="utf-8"), encoding="utf-8")
        (self._problem / "verify.py").write_text(VERIFY, encoding="utf-8")
        self._judged = folder / "judged"  # beside the problem, whose files must stay as they are
        self._replies = folder / "replies.jsonl"
        self._replies.write_text("".join(self._reply() for _ in range(COMPLETIONS)), encoding="utf-8")
        self._url = url
        self._engine = create_engine(url or f"sqlite:///{self._run / 'evolve.db'}")
        self._rows: Rows = {}
        self._ticks: list[float] = []
        self.figures = Figures()

    def _reply(self) -> str:
        """Return a completion: most are quick and each has an answer of its own, some are slow, some crash."""
        chance = self._rng.random()
        body = "1 / 0" if chance < 0.1 else str(self._rng.randrange(1, 10**9))
        wait = f"    import time\n    time.sleep({self._rng.random() / 5:.3f})\n" if chance > 0.6 else ""
        return json.dumps({"text": f"```python\ndef answer():\n{wait}    return {body}\n```"}) + "\n"

    def kill_once(self) -> None:
        """Start or resume the run, kill it at a random moment, and look at what it left."""
        before = self._size()
        self._ticks = []
        with self._process() as process:
            early = self._rng.random() < 0.2
            if early:
                self._sleep(self._rng.uniform(0.0, 4.0))
            elif self._wait_for_work(process, before):
                self._sleep(self._rng.uniform(0.0, 2.0))
            ended = process.poll()
            process.send_signal(signal.SIGKILL)
            process.wait()
        if ended is not None:
            self.figures.refused += 1
        self.figures.kills += 1
        self.figures.moments["search" if self._size() > before else "start"] += 1
        self._examine()

    def end(self, steps: int) -> tuple[float, float]:
        """Resume the run to `steps` more finished steps, and return its best and the best of its rows."""
        with self._engine.connect() as connection:
            done = connection.scalar(text("SELECT max(step) FROM steps")) or 0
        with self._process(f"budget.steps={done + steps}") as process:
            if process.wait(timeout=600) != 0:
                self.figures.refused += 1
        self._examine()
        with self._engine.connect() as connection:
            best = connection.scalar(text("SELECT best FROM steps ORDER BY step DESC LIMIT 1"))
            failed = "SELECT program_id FROM confirmations WHERE NOT confirmed"
            rows = f"SELECT max(score) FROM programs WHERE id NOT IN ({failed})"
            return float(best or 0.0), float(connection.scalar(text(rows)) or 0.0)

    @contextlib.contextmanager
    def _process(self, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
        if (self._run / "run.yaml").exists():
            command = ["resume", f"run={self._run}", *words]
        else:
            command = ["run", "problem=trivial", f"problem.path={self._problem}", f"run.dir={self._run}"]
            command += ["engine=scripted", f"engine.file={self._replies}", "sandbox.require=none", "sandbox.workers=2"]
            command += [f"rollout.parents={PARENTS}", f"rollout.samples={SAMPLES}", "rollout.late=0.5"]
            command += ["budget.steps=1000000", *([] if self._url is None else [f"database.url={self._url}"])]
        log = self._run.with_name("log")
        with log.open("wb") as out:
            process = subprocess.Popen([sys.executable, "-m", "evolve", *command], cwd=ROOT, stdout=out, stderr=out)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
        if process.returncode not in (0, -signal.SIGKILL):
            print(f"ended by itself: {' '.join(log.read_text(encoding='utf-8').split()[-60:])}", file=sys.stderr)

    def _wait_for_work(self, process: "subprocess.Popen[bytes]", size: int) -> bool:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and process.poll() is None:
            if self._size() > size:
                return True
            self._sleep(TICK_S)
        return False

    def _sleep(self, seconds: float) -> None:
        """Sleep in short naps, and note when each of them ended."""
        for _ in range(max(1, round(seconds / TICK_S))):
            time.sleep(TICK_S)
            self._ticks.append(time.monotonic())

    def _age_s(self, when: float) -> float:
        """Return for how long this process was served since a moment of this session; 0 for one before it."""
        if not self._ticks or when < self._ticks[0]:
            return 0.0
        return (len(self._ticks) - bisect.bisect(self._ticks, when)) * TICK_S

    def _size(self) -> int:
        return self._judged.stat().st_size if self._judged.exists() else 0

    def _examine(self) -> None:
        """Compare what the database holds with what it held before and with what was judged."""
        figures = self.figures
        if self._url is None and not (self._run / "evolve.db").exists():  # killed before it was made
            return
        with self._engine.connect() as connection:
            figures.faults += faults(connection)
            rows, figures.twice = read(self._engine, connection)
        figures.attempts = sum(key[0] == "attempts" for key in rows)
        if not figures.attempts:  # a run that is killed before its seed program is stored begins anew
            return
        figures.changed += sum(rows.get(key) != row for key, row in self._rows.items())
        self._rows = rows
        scores = {row[0] for key, row in rows.items() if key[0] == "scores"}
        judged: dict[float, float] = {}
        for line in self._judged.read_text(encoding="utf-8").splitlines() if self._judged.exists() else []:
            when, answer = line.split()
            if answer != "0":  # the seed program is judged before there is a database
                judged[float(answer)] = float(when)
        figures.lost += sum(self._age_s(when) > DURABLE_S for answer, when in judged.items() if answer not in scores)


def faults(connection: Connection) -> int:
    """Return how many faults SQLite finds in the file and in the references."""
    if connection.dialect.name != "sqlite":
        return 0
    found = [row[0] for row in connection.execute(text("PRAGMA integrity_check")) if row[0] != "ok"]
    return len(found) + len(connection.execute(text("PRAGMA foreign_key_check")).all())


def read(engine: Engine, connection: Connection) -> tuple[Rows, int]:
    """Return every row by its table and key, with each valid run's score; and how many are there twice.

    A row stands twice when a program has one place of an island twice, or two rows of one step's numbers.
    """
    tables = MetaData()
    tables.reflect(engine)
    rows: Rows = {}
    count = 0
    for table in tables.sorted_tables:
        keys = [column.name for column in table.primary_key.columns]
        for row in connection.execute(select(table)).mappings():
            rows[(table.name, *(row[key] for key in keys))] = tuple(map(str, row.values()))
            count += 1
            if table.name == "evaluations" and row["score"] is not None:
                rows[("scores", row["program_id"], row["number"])] = (row["score"],)
    places = [row[1:] for key, row in rows.items() if key[0] == "memberships"]
    islands = Counter((row[1], row[2]) for row in places)  # program and island
    stored = sum(key[0] != "scores" for key in rows)
    return rows, count - stored + sum(number - 1 for number in islands.values())


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="Kills a run again and again, and counts what was lost.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--url", help="a fresh database; SQLite in the run's folder if not given")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        search = Search(Path(folder), random.Random(options.seed), options.url)
        started = time.monotonic()
        for kill in range(1, options.kills + 1):
            search.kill_once()
            if kill % 10 == 0:
                print(f"{time.monotonic() - started:6.0f} s  {search.figures}", flush=True)
        best, computed = search.end(3)
    print(search.figures)
    print(f"best of the run {best!r}, of its rows {computed!r}: {'the same' if best == computed else 'NOT THE SAME'}")


if __name__ == "__main__":
    main()
