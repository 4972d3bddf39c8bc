"""How the views of `evolve show` look on a terminal; without one the same words stand without colours."""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evolve.show.shapes import (
    AttemptView,
    CellView,
    ConfirmationView,
    IslandView,
    LineageView,
    MoveView,
    OutcomesView,
    ProgramView,
    RunRow,
    RunView,
    StepView,
    TrainingView,
)

#: How the lines of a unified diff are told apart, by their first characters; the first that fits counts.
_DIFF = (("+++", "bold"), ("---", "bold"), ("@@", "cyan"), ("+", "green"), ("-", "red"))


def print_runs(console: Console, rows: Sequence[RunRow], folder: str) -> None:
    """Print the runs below a folder."""
    if not rows:
        _line(console, f"no runs in {folder}; start one with `evolve run problem=NAME`")
        return
    readable = [row for row in rows if row["error"] is None]
    if readable:
        _table(console, ("folder", "problem", "model", "steps", "completions", "best"), readable)
    for row in rows:
        if row["error"] is not None:
            _line(console, f"{row['folder']} cannot be read: {row['error']}")


def print_run(console: Console, view: RunView) -> None:
    """Print the summary of a run."""
    for name, value in view.items():
        if name in ("problem", "model", "folder", "seed", "steps", "completions"):
            _line(console, f"{name}: {value}")
    if view["merged"]:
        _line(console, f"merged from other runs: {view['merged']} programs")
    _line(console, f"outcomes: {', '.join(f'{count} {name}' for name, count in view['outcomes'].items())}")
    if view["quarantined"]:
        _line(console, f"in quarantine: {view['quarantined']} programs; see view=confirmations")
    print_best(console, view["best_programs"])


def print_best(console: Console, rows: Sequence[ProgramView]) -> None:
    """Print the best programs, best first."""
    _table(console, ("program", "step", "parent", "score", "confirmed"), rows, title="best programs")


def print_attempt(console: Console, view: AttemptView) -> None:
    """Print the parts of an attempt in reading order; everything that a model wrote is printed as plain text."""
    for name, value in view.items():
        if name in ("program", "step", "outcome", "score", "reward", "parent", "inspirations", "island", "known_as"):
            _line(console, f"{name}: {value}")
    lineage = " > ".join(f"{row['program']} ({row['score']!r})" for row in view["lineage"])
    _line(console, f"lineage: {lineage}")
    check = view["confirmation"]
    if check is not None:
        _line(console, _check(check))
    messages = "\n".join(f"[{message['role']}]\n{message['content']}" for message in view["prompt"])
    for title, text in (
        ("diff to the parent", view["diff"]),
        ("source", view["source"]),
        ("feedback", view["feedback"]),
        ("prompt", messages),
        ("reply", view["reply"]),
    ):
        if text:
            console.print(Text(f"\n── {title} ──", "bold"))
            _diff(console, text) if title.startswith("diff") else _line(console, text)


def _check(check: ConfirmationView) -> str:
    scores = ", ".join(repr(score) for score in check["scores"])
    verdict = f"confirmed, {check['origin']}" if check["confirmed"] else f"in quarantine: {check['reason']}"
    return f"confirmation: {verdict}; with unseen seeds {scores}"


def print_lineage(console: Console, view: LineageView) -> None:
    """Print each program of a lineage below its diff to the one before, from the seed down."""
    for step in view["lineage"]:
        gain = "" if not step["better_by"] else f", {'better' if step['better_by'] > 0 else 'worse'} by "
        gain += f"{abs(step['better_by']):.6g}" if step["better_by"] else ""
        origin = "no parent" if step["parent"] is None else f"child of {step['parent']}"
        result = step["outcome"] if step["score"] is None else repr(step["score"])
        title = f"── program {step['program']}, step {step['step']}, {origin}: {result}{gain} ──"
        console.print(Text(title, "bold"))
        _diff(console, step["diff"])


def print_outcomes(console: Console, view: OutcomesView) -> None:
    """Print how the completions ended and what the identity check saved."""
    rows = [{**row, "share": _percent(row["share"])} for row in view["outcomes"]]
    _table(console, ("outcome", "count", "share"), rows, title=f"{view['completions']} completions")
    avoided = view["avoided"]
    _line(
        console,
        f"duplicates avoided: {avoided['total']} evaluations, {_percent(avoided['share'])} of the completions with a "
        f"program ({avoided['unchanged']} unchanged, {avoided['duplicate']} duplicate, {avoided['shared']} shared with "
        f"another of their step); {view['evaluated']} programs were run",
    )


def print_moves(console: Console, rows: Sequence[MoveView]) -> None:
    """Print what came of each idea, its text last."""
    if not rows:
        _line(console, "no moves: the run has no completion yet")
        return
    flat = [
        {
            **row,
            "valid": _percent(row["valid"]),
            "improved": _percent(row["improved"]),
            "move": row["move"] or "(none)",
        }
        for row in rows
    ]
    _table(console, ("completions", "valid", "improved", "best", "move"), flat)


def print_islands(console: Console, rows: Sequence[IslandView]) -> None:
    """Print a line for each island."""
    _table(console, ("island", "programs", "born", "migrants", "elites", "newest", "best", "score"), rows)


def print_archive(console: Console, rows: Sequence[CellView]) -> None:
    """Print the cells with their holders, best first on each island."""
    if not rows:
        _line(console, "no archive: the run's selection keeps none, or no step has been stored")
        return
    names = sorted({name for row in rows for name in row["measures"]})
    flat = [{**row, **row["measures"], "cell": " ".join(str(part) for part in row["cell"])} for row in rows]
    _table(console, ("island", "cell", "program", "score", "length", *names, "step"), flat)


def print_confirmations(console: Console, rows: Sequence[ConfirmationView]) -> None:
    """Print the checks of new bests."""
    if not rows:
        _line(console, "no confirmations: nothing has looked better than the seed program yet")
        return
    flat = [
        {
            **row,
            "confirmed": "yes" if row["confirmed"] else "quarantine",
            "unseen seeds": ", ".join(repr(score) for score in row["scores"]),
        }
        for row in rows
    ]
    _table(console, ("program", "confirmed", "origin", "score", "unseen seeds", "reason"), flat)


def print_trainings(console: Console, rows: Sequence[TrainingView]) -> None:
    """Print a line for each step after which the learner learned."""
    if not rows:
        _line(console, "no trainings: the run's learner is frozen, or no step has been trained on")
    for row in rows:
        values = ", ".join(f"{name} {value:.4g}" for name, value in row["values"].items())
        _line(console, f"step {row['step']}: {values}")


def print_steps(console: Console, rows: Sequence[StepView]) -> None:
    """Print a line for each finished step."""
    seconds = ("generate_s", "tail_s", "database_s")
    flat = [{**row, **{name: f"{row[name]:.2f}" for name in seconds}} for row in rows]  # type: ignore[literal-required]
    columns = ("step", "best", "attempts", "improved", "tokens", *seconds, "stragglers")
    _table(console, columns, flat)


def _table(
    console: Console, columns: Sequence[str], rows: Iterable[Mapping[str, object]], title: str | None = None
) -> None:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    console.print(table)


def _cell(value: object) -> str:
    return "" if value is None else printable(str(value))


def _line(console: Console, text: str) -> None:
    console.out(printable(text), highlight=False)


def _diff(console: Console, diff: str) -> None:
    for line in printable(diff).split("\n"):
        style = next((style for start, style in _DIFF if line.startswith(start)), "")
        console.print(Text(line, style), soft_wrap=True)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def printable(text: str) -> str:
    r"""Return the text with control characters and lone surrogates spelled out, as a terminal obeys them.

    >>> printable("a\x1b[2J\tb\n")
    'a\\x1b[2J\tb\n'
    """
    return "".join(
        c if c in "\n\t" or (c.isprintable() and not "\ud800" <= c <= "\udfff") else repr(c)[1:-1] for c in text
    )
