"""The command `evolve report`: a run as one HTML file that needs nothing else, and as Markdown with its pictures."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from evolve.dashboard.bests import Best, curve, run_best
from evolve.dashboard.catalog import Catalog, OpenRun
from evolve.dashboard.figures import draw_curves, draw_learning, draw_steps
from evolve.dashboard.learning import panels
from evolve.dashboard.pages import environment
from evolve.dashboard.pictures import LARGE, draw_png
from evolve.dashboard.run_page import outcome_counts
from evolve.dashboard.texts import printable
from evolve.errors import RunFolderError
from evolve.standing import Standing, in_quarantine
from evolve.types import Outcome, Program
from evolve.words import named_words, path_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture of the report; `file` is its name beside the Markdown."""

    title: str
    file: str
    png: bytes

    @property
    def inline(self) -> str:
        """The picture as an address of its own."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What both forms of the report say."""

    run: OpenRun
    best: Best
    standing: Standing
    lineage: Sequence[Program]
    quarantine: Sequence[Standing]
    outcomes: Sequence[tuple[Outcome, int]]
    completions: int
    steps: int
    active_s: float
    tokens: int
    prompt_tokens: int
    pictures: Sequence[Picture]


def report(words: Sequence[str], console: Console) -> int:
    """`evolve report`: write the report of a run, going on or ended."""
    named, _ = named_words(words, required=("run",), optional=("to",))
    folder = path_of("run", named["run"])
    to = path_of("to", named["to"]) if "to" in named else folder / "report"
    with Catalog(only=[folder]) as catalog:
        run = catalog.opened(folder)
        try:
            to.mkdir(parents=True, exist_ok=True)
            contents = _contents(run, to)
            html, markdown = _rendered(contents)
            (to / "report.html").write_text(html, encoding="utf-8")
            (to / "report.md").write_text(markdown, encoding="utf-8")
        except OSError as error:
            raise RunFolderError(f"cannot write to {to}: {error.strerror}; name another folder with to=DIR") from error
    console.print(f"{to / 'report.html'}, {to / 'report.md'}", highlight=False, markup=False, soft_wrap=True)
    return 0


def _contents(run: OpenRun, to: Path) -> Contents:
    best, reports = run_best(run), run.reports()
    if best is None:
        raise RunFolderError(f"the run in {run.folder} has not begun: there is nothing to report yet")
    tokens, prompt_tokens = run.views.token_totals()
    counts = outcome_counts(run, reports)
    return Contents(
        run=run,
        best=best,
        standing=run.bests()[0],
        lineage=run.views.lineage(run.bests()[0].attempt.id),
        quarantine=in_quarantine(run.views),
        outcomes=sorted(counts.items(), key=lambda item: -item[1]),
        completions=sum(counts.values()),
        steps=len(reports) - 1,
        active_s=reports[-1].finished_s,
        tokens=tokens,
        prompt_tokens=prompt_tokens,
        pictures=_pictures(run, best, to),
    )


def _pictures(run: OpenRun, best: Best, to: Path) -> list[Picture]:
    """Draw the pictures into the folder `figures` and return them."""
    folder = to / "figures"
    folder.mkdir(exist_ok=True)
    reports = [each for each in run.reports() if each.step > 0 and each.attempts]
    trainings = run.views.trainings()
    titles = {"curves.png": "Best against completions and against time"}
    draw_curves(run.problem, curve(run), folder / "curves.png")
    if reports:
        titles["steps.png"] = "How completions ended, and the speed"
        draw_steps(reports, folder / "steps.png")
    if panels(trainings):
        titles["learning.png"] = "What the learner reports"
        draw_learning(trainings, folder / "learning.png")
    drawn = draw_png(run.problem, best.evaluation, size=LARGE)
    if drawn is not None:
        (folder / "best.png").write_bytes(drawn)
        titles = {"best.png": "The best construction", **titles}
    return [
        Picture(title=title, file=f"figures/{name}", png=(folder / name).read_bytes()) for name, title in titles.items()
    ]


def _rendered(contents: Contents) -> tuple[str, str]:
    """Return the report as HTML and as Markdown."""
    pages = environment()
    html = pages.get_template("report.html").render(report=contents)
    pages.autoescape = False
    pages.filters |= {"plain": plain_markdown, "fenced": fenced}
    return html, pages.get_template("report.md").render(report=contents)


def plain_markdown(text: str) -> str:
    r"""Return a text in one line that Markdown shows as it is, also in a table.

    >>> plain_markdown("a|b <i> *c*\n# d")
    'a\\|b \\<i\\> \\*c\\* \\# d'
    """
    return re.sub(r"([\\`*_{}\[\]<>()#!|~])", r"\\\1", printable(" ".join(text.split())))


def fenced(text: str, language: str) -> str:
    """Return a text as a block of code that it cannot end itself.

    >>> print(fenced("a ``` b", "python"))
    ````python
    a ``` b
    ````
    """
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{printable(text)}\n{fence}"
