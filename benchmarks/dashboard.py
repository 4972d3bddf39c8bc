"""How fast the dashboard answers when a run is large.

    python -m benchmarks.dashboard [--programs 100000] [--keep DIR]

Makes a run of made-up attempts in steps of 512, with islands, archive, confirmed bests and a learner's figures, serves
it with `evolve serve`, and asks for each page: for the first time, again (the mean of ten), and after a new step was
stored, as while the run goes on. Prints milliseconds by the clock and of a core, and a page's bytes with its files;
then when Debian's Chromium first paints each page, where it is installed.
"""

import argparse
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from database import RunStore, open_database
from evolve.compose import Clocks, create_run
from evolve.options import parse_options
from evolve.run_folder import new_run_folder
from evolve.types import (
    ArchiveCell,
    Attempt,
    Completion,
    Confirmation,
    Draw,
    Evaluation,
    FinishReason,
    Membership,
    Message,
    Origin,
    Outcome,
    StepReport,
    Training,
)

STEP = 512
SAMPLES = 16
ISLANDS = 4
ENDINGS = (Outcome.VALID,) * 14 + (Outcome.CRASHED, Outcome.INVALID, Outcome.NO_CODE, Outcome.TIMED_OUT)
WORDS = ("for", "range(n):", "radius", "=", "min(gap,", "best[i])", "return", "centre", ">", "0.5", "*", "np.sqrt(x)")


class Growth:
    """A run that grows by made-up steps, whose scores climb towards the record and whose lineage has deep branches."""

    def __init__(self, store: RunStore, seed: int = 1) -> None:
        self.store = store
        self._random = random.Random(seed)
        self._text = " ".join(self._random.choices(WORDS, k=20_000))
        self._pool: list[tuple[float, int]] = [(0.96, 0)]
        self._cells: dict[tuple[int, int, int], float] = {}
        self._best = 0.96
        self.step = 0
        self.size = 0

    def seed(self) -> None:
        """Store the seed program."""
        self.store.insert_attempt(self.seed_attempt())
        self._finish([(0, 0.96)], Outcome.VALID)

    def seed_attempt(self) -> Attempt:
        """Return the attempt that stands for the seed program."""
        return self._attempt(0, (Message(role="user", content="seed"),), 0, 0.96, Outcome.VALID)

    def grow(self) -> None:
        """Make one step."""
        self.step += 1
        attempts: list[Attempt] = []
        outcomes: list[Outcome] = []
        for sample in range(STEP):
            number = self.size + 1 + sample
            if sample % SAMPLES == 0:
                bar, parent = max(self._random.choices(self._pool[-4000:], k=4))
                prompt = (Message(role="system", content="Be short."), Message(role="user", content=self._words(5000)))
            outcome = self._random.choice(ENDINGS)
            room = 2.6359830849 - bar
            score = bar + self._random.gauss(-0.04, 0.05) * room if outcome is Outcome.VALID else None
            attempts.append(self._attempt(number, prompt, parent, score, outcome))
            outcomes.append(outcome)
        self.store.insert_attempts(attempts)
        self.size += STEP
        born = [(attempt.id, attempt.score) for attempt in attempts if attempt.score is not None]
        self._confirm(born)
        self._finish(born, *outcomes)
        values = {
            "reward": self._best - 0.3 * math.exp(-self.step / 40),
            "entropy": 0.2 + 1.1 * math.exp(-self.step / 60),
            "importance_min": 0.9 + self._random.gauss(0, 0.02),
            "importance_mean": 1 + self._random.gauss(0, 0.002),
            "importance_max": 1.1 + self._random.gauss(0, 0.02),
            "generate_s": 20.0,
            "wait_s": 3.0,
            "train_s": 9.0,
            "sync_s": 0.7,
        }
        self.store.insert_training(Training(step=self.step, values=values))

    def _attempt(
        self, number: int, prompt: tuple[Message, ...], parent: int, score: float | None, outcome: Outcome
    ) -> Attempt:
        has_program = outcome is not Outcome.NO_CODE
        evaluation = Evaluation(
            outcome=outcome,
            seed=1,
            score=score,
            exact=None if score is None else repr(score),
            construction=None if score is None else packing(score),
            wall_s=0.3,
        )
        source = f"import numpy as np\n\n\ndef pack(n):\n    # {number}\n    {self._words(1200)}\n"
        return Attempt(
            id=number,
            step=self.step,
            draw=Draw(island=number % ISLANDS, parent_id=parent, inspiration_ids=(0,)),
            prompt=prompt,
            completion=Completion(
                group=max(number - 1, 0) % STEP // SAMPLES,
                sample=max(number - 1, 0) % SAMPLES,
                text=self._words(1600),
                tokens=500,
                prompt_tokens=1500,
                finish_reason=FinishReason.STOP,
                seconds=12.0,
            ),
            outcome=outcome,
            feedback="ZeroDivisionError: division by zero" if outcome is Outcome.CRASHED else "",
            reward=score or -0.2,
            identity=f"{number:064x}" if has_program else None,
            source=source if has_program else None,
            evaluations=(evaluation,) if has_program else (),
            score=score,
            finished_s=number * 0.05,
        )

    def _confirm(self, born: Sequence[tuple[int, float]]) -> None:
        number, score = max(born, key=lambda pair: pair[1])
        if score > self._best:
            self._best = score
            evaluation = Evaluation(
                outcome=Outcome.VALID, seed=9, score=score, exact=repr(score), construction=packing(score)
            )
            self.store.insert_confirmation(
                Confirmation(
                    program_id=number, confirmed=True, reason="", origin=Origin.SCRATCH, evaluations=(evaluation,)
                )
            )

    def _finish(self, born: Sequence[tuple[int, float]], *endings: Outcome) -> None:
        cells = []
        for number, score in born:
            self._pool.append((score, number))
            place = (number % ISLANDS, int(score * 12), self._random.randrange(16))
            if score > self._cells.get(place, 0.0):
                self._cells[place] = score
                cells.append(ArchiveCell(program_id=number, island=place[0], grid=0, cell=place[1:], step=self.step))
        report = StepReport(
            step=self.step,
            attempts=len(endings),
            outcomes={outcome: endings.count(outcome) for outcome in set(endings)},
            best=self._best,
            improved=len(born) // 5,
            tokens=500 * len(endings),
            prompt_tokens=1500 * len(endings),
            generate_s=20.0,
            tail_s=3.0,
            database_s=0.4,
            stragglers=0,
            finished_s=self.step * 33.0,
        )
        places = [Membership(program_id=id_, island=id_ % ISLANDS, step=self.step, migrant=False) for id_, _ in born]
        self.store.finish_step(report, places, cells)

    def _words(self, length: int) -> str:
        start = self._random.randrange(len(self._text) - length)
        return self._text[start : start + length]


def packing(score: float) -> str:
    """Return 26 circles on a grid, larger for a better score, as JSON."""
    radius = score / 26 * 0.8
    return json.dumps([[(k % 6 + 0.5) / 6, (k // 6 + 0.5) / 6, round(radius, 6)] for k in range(26)])


@contextmanager
def made_up_run(path: Path, *, seed: int = 1) -> Iterator[Growth]:
    """Begin a run in a new folder and give what makes it grow."""
    words = ["problem=circle_packing", "engine=scripted", f"engine.file={path / 'none.jsonl'}", f"run.seed={seed}"]
    config = parse_options([*words, "budget.steps=400", f"selection.islands={ISLANDS}", "rollout.parents=32"])
    clocks = Clocks(monotonic=time.monotonic, wall=time.time)
    with new_run_folder(path) as folder, open_database(folder.database_url) as database:
        growth = Growth(create_run(config, folder, database, clocks), seed)
        growth.seed()
        yield growth


class Served:
    """A running `evolve serve`.

    Attributes:
        address: Where it is.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        """Take a process that has just been started; it prints its address first."""
        if process.stdout is None:
            raise ValueError("the server has no output")
        self.address = process.stdout.readline().split()[1].rstrip("/")
        self._stat = Path(f"/proc/{process.pid}/stat")

    def cpu_s(self) -> float:
        """Return the seconds of a core that it has used, all threads together."""
        fields = self._stat.read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def served(runs: Path) -> Iterator[Served]:
    """Serve a folder of runs with the real command."""
    words = [sys.executable, "-m", "evolve", "serve", f"runs={runs}", "port=0", "token=none"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        yield Served(process)
    finally:
        process.terminate()
        process.wait()


def weight(client: httpx.Client, address: str) -> int:
    """Return the bytes of a page with its scripts and style sheets."""
    page = client.get(address).raise_for_status()
    files = {"/static/charts.js", "/static/live.js", "/static/keys.js", "/static/map.js"}
    files |= set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text))
    return len(page.content) + sum(len(client.get(file).content) for file in files)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="How fast the dashboard answers when a run is large.")
    parser.add_argument("--programs", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="a folder for the run; a temporary one if not given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        runs = arguments.keep or Path(temporary)
        with made_up_run(runs / "large") as growth:
            start = time.perf_counter()
            while growth.size < arguments.programs:
                growth.grow()
            print(f"{growth.size} attempts in {growth.step} steps, made in {time.perf_counter() - start:.0f} s")
            with served(runs) as server, httpx.Client(base_url=server.address, timeout=60) as client:
                measure(server, client, growth)


def measure(server: Served, client: httpx.Client, growth: Growth) -> None:
    """Print the times of each page."""

    def timed(path: str, times: int = 1) -> str:
        """Return milliseconds of the clock and of a core for one answer, the mean of several."""
        start, cpu = time.perf_counter(), server.cpu_s()
        for _ in range(times):
            client.get(path).raise_for_status()
        return f"{(time.perf_counter() - start) / times * 1e3:8.0f} {(server.cpu_s() - cpu) / times * 1e3:5.0f}"

    first = timed("/")
    text = client.get("/").text
    key = re.findall(r'href="/runs/(\w+)"', text)[0]
    best = re.findall(rf"/runs/{key}/programs/(\d+)", text)[0]
    pages = {
        "best bounds": "/",
        "run": f"/runs/{key}",
        "program": f"/runs/{key}/programs/{best}",
        "tree": f"/runs/{key}/tree",
        "compare": f"/compare?run={key}",
    }
    print(f"{'page':<12} {'first':>14} {'again':>14} {'after a step':>14} {'bytes':>9}")
    for name, path in pages.items():
        first = first if path == "/" else timed(path)
        again = timed(path, 10)
        growth.grow()
        grown = timed(path)
        print(f"{name:<12} {first} {again} {grown} {weight(client, path):9}", flush=True)
    paint(server.address, pages)


def paint(address: str, pages: Mapping[str, str]) -> None:
    """Print when a browser first paints each page: the slowest of five visits, each with an empty cache."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        print("first paint: not measured, for no Chromium is installed (apt-get install chromium)")
        return
    from playwright.sync_api import sync_playwright

    asked = "() => performance.getEntriesByName('first-contentful-paint').map(entry => entry.startTime)"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        for name, path in pages.items():
            times = []
            for _ in range(5):
                page = browser.new_context().new_page()
                page.goto(address + path)
                while not (seen := page.evaluate(asked)):
                    page.wait_for_timeout(20)
                times += seen
                page.context.close()
            print(f"{name:<12} first paint after {max(times):5.0f} ms at most", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
