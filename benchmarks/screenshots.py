"""Pictures of every page of the dashboard, for the README: docs/screenshots/*.png.

    python -m benchmarks.screenshots [--runs DIR] [--to docs/screenshots]

Without --runs it makes what it shows: searches on three problems with recorded completions (programs that push points
apart, with settings drawn at random; no model is asked). The tree is that of a run of 20,000 made-up programs: what a
large run looks like, not what a search found.
Needs the extras `dashboard` and `dev`, and Debian's Chromium.
"""

import argparse
import io
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from benchmarks.dashboard import made_up_run, served

CIRCLES = """```python
import numpy as np


def pack(n):
    rng = np.random.default_rng({seed})
    points = rng.uniform(0.08, 0.92, (n, 2))
    for _ in range({rounds}):
        apart = points[:, None] - points[None]
        square = (apart ** 2).sum(-1) + 1e-6
        push = {rate} * (apart / square[..., None] ** 1.5).sum(1)
        size = np.linalg.norm(push, axis=1, keepdims=True)
        points = np.clip(points + push * np.minimum(1, 0.02 / (size + 1e-12)), {edge}, 1 - {edge})
    radii = np.full(n, 0.02)
    for _ in range({passes}):
        radii = np.minimum(radii * 1.03, np.minimum(points, 1 - points).min(1))
        for i in range(n):
            for j in range(i + 1, n):
                gap = np.linalg.norm(points[i] - points[j])
                if radii[i] + radii[j] > gap:
                    radii[[i, j]] *= gap / (radii[i] + radii[j])
    radii *= 1 - 1e-12
    return [[float(x), float(y), float(r)] for (x, y), r in zip(points, radii)]
```
"""
TRIANGLES = """```python
import numpy as np
from itertools import combinations


def place(n):
    rng = np.random.default_rng({seed})
    triples = np.array(list(combinations(range(n), 3)))

    def smallest(points):
        a, b, c = (points[triples[:, k]] for k in range(3))
        u, v = b - a, c - a
        return np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).min()

    best = rng.random((n, 2))
    score = smallest(best)
    for k in range({rounds}):
        trial = best.copy()
        trial[rng.integers(n)] += {rate} * rng.normal(size=2)
        trial = np.clip(trial, 0, 1)
        if smallest(trial) > score:
            best, score = trial, smallest(trial)
    return best
```
"""
DISTANCES = """```python
import numpy as np


def place(n, dimension):
    rng = np.random.default_rng({seed})
    points = rng.normal(size=(n, dimension))
    for k in range({rounds}):
        apart = points[:, None] - points[None]
        length = np.linalg.norm(apart, axis=-1) + np.eye(n)
        push = (apart / length[..., None] ** {power}).sum(1)
        points += {rate} * push / (1 + k / 100)
        points /= max(1.0, np.linalg.norm(points, axis=1).max())
    return points
```
"""
#: Problem, what a reply looks like, selections with the seeds of their runs.
SEARCHES = (
    ("circle_packing", CIRCLES, (("map_elites", 1), ("map_elites", 2), ("best_of_n", 1), ("best_of_n", 2))),
    ("heilbronn_13", TRIANGLES, (("map_elites", 1),)),
    ("distance_ratio_16", DISTANCES, (("map_elites", 1),)),
)
STEPS = 9
#: Programs of the made-up run.
LARGE = 20_000
WIDTH, HEIGHT = 1240, 820


def replies(template: str, seed: int) -> Iterator[str]:
    """Yield completions whose settings get better on average, among some that fail."""
    draw = random.Random(seed)
    for k in range(16 * STEPS):
        chance = draw.random()
        if chance < 0.06:
            yield "Let me think about the symmetry of the problem first."
        elif chance < 0.12:
            yield "```python\ndef pack(n):\n    return [1 / 0]\n\n\ndef place(*n):\n    return [1 / 0]\n```"
        else:
            yield "Push them apart, a little further than before.\n" + template.format(
                seed=draw.randrange(10_000),
                rounds=int((20 + 6 * k) * draw.uniform(0.3, 1)),
                rate=round(10 ** draw.uniform(-4.3, -3.3) * (1 if template is CIRCLES else 100), 6),
                edge=round(draw.uniform(0.08, 0.11), 3),
                passes=draw.choice((40, 60, 90)),
                power=round(draw.uniform(2.5, 6), 2),
            )


def search(folder: Path, problem: str, template: str, selection: str, seed: int) -> None:
    """Make one run with recorded completions."""
    name = f"{problem}-{selection}-{seed}".replace("_", "-")
    file = folder.parent / f"{name}.jsonl"
    file.write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in replies(template, len(name) + seed)), encoding="utf-8"
    )
    words = [f"problem={problem}", f"selection={selection}", "engine=scripted", f"engine.file={file}"]
    words += ["rollout.parents=4", "rollout.samples=4", "rollout.late=0", f"budget.steps={STEPS}", f"run.seed={seed}"]
    words += ["sandbox.require=none", f"run.dir={folder / name}"]
    words += ["selection.islands=2"] if selection == "map_elites" else []
    subprocess.run([sys.executable, "-m", "evolve", "run", *words], check=True, stdout=subprocess.DEVNULL)


def make_runs(folder: Path) -> None:
    """Make the searches that are shown."""
    for problem, template, arms in SEARCHES:
        for selection, seed in arms:
            search(folder, problem, template, selection, seed)
            print(f"{problem}, {selection}, seed {seed}")


def searched(site: str) -> dict[str, str]:
    """Return what is shown of the searches: name of the picture, address of the page."""
    rows = {name: key for key, name in re.findall(r'<td><a href="/runs/(\w+)">([^<]+)</a>', httpx.get(site).text)}
    circles = {name: key for name, key in sorted(rows.items(), reverse=True) if name.startswith("circle")} or rows
    first = next(iter(circles.values()))
    best = re.findall(rf'href="/runs/{first}/programs/(\d+)"', httpx.get(f"{site}/runs/{first}").text)[0]
    compared = "&".join(f"run={key}" for key in circles.values())
    return {
        "bests": "/",
        "run": f"/runs/{first}",
        "program": f"/runs/{first}/programs/{best}",
        "compare": f"/compare?{compared}",
    }


def made_up(site: str) -> dict[str, str]:
    """Return what is shown of the made-up run, whose scores mean nothing: name of the picture, address of the page."""
    (key,) = set(re.findall(r'<td><a href="/runs/(\w+)">', httpx.get(site).text))
    return {"tree": f"/runs/{key}/tree"}


def shoot(browser: Browser, address: str, file: Path, scheme: str) -> None:
    """Write a picture of the top of a page, as a PNG of few colours."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
    page.goto(address)
    page.evaluate(
        "Promise.all([...document.images].map((image) => { image.loading = 'eager'; return image.decode(); }))"
    )
    shot = Image.open(io.BytesIO(page.screenshot()))
    shot.convert("RGB").quantize(224).save(file, optimize=True)
    page.close()


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description="Pictures of the dashboard for the README.")
    parser.add_argument("--runs", type=Path, help="a folder of runs to show; some are made if it is not given")
    parser.add_argument("--to", type=Path, default=Path("docs/screenshots"))
    arguments = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        sys.exit("no Chromium is installed: apt-get install chromium")
    arguments.to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        large, runs = Path(temporary) / "large", arguments.runs or Path(temporary) / "runs"
        with made_up_run(large / "made-up") as growth:
            while growth.size < LARGE:
                growth.grow()
        if arguments.runs is None:
            runs.mkdir()
            make_runs(runs)
        for folder, pages in ((large, made_up), (runs, searched)):
            with served(folder) as site:
                for name, path in pages(site.address).items():
                    shoot(browser, site.address + path, arguments.to / f"{name}.png", "light")
                if folder == runs:
                    shoot(browser, site.address, arguments.to / "bests-dark.png", "dark")
        browser.close()


if __name__ == "__main__":
    main()
