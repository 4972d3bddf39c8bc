"""A folder of runs made by the real command, a server over it, and Debian's Chromium to look at it."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from dashboard_runs import TOKEN, replies, run_words

from benchmarks.dashboard import made_up_run
from evolve.dashboard.catalog import key_of


def evolve(*words: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run the command and wait for it."""
    return subprocess.run(
        [sys.executable, "-m", "evolve", *words], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


@contextmanager
def serving(*words: str, cwd: Path) -> Iterator[str]:
    """Start `evolve serve`; give the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "evolve", "serve", *words], cwd=cwd, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        found = re.match(r"dashboard: (http://127\.0\.0\.1:\d+/)", process.stdout.readline())
        assert found
        yield found[1].rstrip("/")
    finally:
        process.terminate()
        process.communicate(timeout=10)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two real runs, `first` and `second`, that differ in their seed, and a larger made-up one."""
    home = tmp_path_factory.mktemp("dashboard")
    folder = home / "runs"
    folder.mkdir()
    for number, name in enumerate(("first", "second")):
        file = home / f"{name}.jsonl"
        texts = replies(0.05 + 0.001 * number)
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        words = run_words(file, folder / name, f"run.seed={number}", f"budget.steps={2 - number}")
        done = evolve(*words, cwd=home)
        assert done.returncode == 0, done.stderr
    with made_up_run(folder / "made-up") as growth:
        for _ in range(3):
            growth.grow()
    return folder


@pytest.fixture(scope="session")
def key(runs: Path) -> Callable[[str], str]:
    """Give what stands for a run in addresses."""
    return lambda name: key_of(runs / name)


@pytest.fixture(scope="session")
def address(runs: Path) -> Iterator[str]:
    """The address of a server over the runs; it asks for TOKEN."""
    with serving(f"runs={runs}", "port=0", f"token={TOKEN}", cwd=runs) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium; ended with the module, for Playwright's driver keeps an event loop running in this thread."""
    if find_spec("playwright") is None:
        pytest.skip("playwright is not installed: it comes with the extra `dev`")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Open a page of the dashboard; when the test ends, no page may have complained."""
    complaints: list[str] = []
    contexts = []

    def open_page(path: str, **options: object) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.goto(f"{address}/?token={TOKEN}")
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: complaints.append(request.url) if not _own(request.url, address) else None)
        page.goto(address + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def _own(url: str, address: str) -> bool:
    return url.startswith((address + "/", "data:"))
