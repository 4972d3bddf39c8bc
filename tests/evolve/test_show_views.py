"""The views of `evolve show`, on runs that are stored by hand."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from attempts import attempt, cell_of, child, completion, member_of, new_run, report, valid
from rich.console import Console

from database import RunStore, open_database
from evolve.show import text, views
from evolve.types import Confirmation, Direction, Draw, Evaluation, Message, Origin, Outcome, Training
from problems import load_problem


@pytest.fixture
def store(made_database: str) -> Iterator[RunStore]:
    """A run whose seed program, of score 1, is a member."""
    with open_database(made_database) as database:
        yield new_run(database, "/runs/one")


def printed(view: object, print_text: object, *, colours: bool = False) -> str:
    """Return what is printed of a view."""
    file = io.StringIO()
    kind = "standard" if colours else "auto"
    print_text(Console(file=file, soft_wrap=True, force_terminal=colours, color_system=kind, width=200), view)
    return file.getvalue()


def test_a_cell_belongs_to_the_newest_entry_of_the_newest_grid(store):
    """Older entries and the cells of a grid that was left are history; each island has its own grids; best first."""
    for program in (valid(1, 5.0), valid(2, 7.0), valid(3, 6.0)):
        store.insert_attempt(program)
    places = [member_of(number) for number in (1, 2, 3)]
    cells = [
        cell_of(1, cell=(0, 0)),
        cell_of(1, cell=(4, 1), grid=1),
        cell_of(3, cell=(5, 1), grid=1),
        cell_of(2, cell=(4, 1), grid=1),
        cell_of(3, cell=(9, 9), island=1),
    ]
    store.finish_step(report(1), places, cells)

    view = views.archive_view(store, Direction.MAX)

    assert [(row["island"], row["cell"], row["program"], row["score"]) for row in view] == [
        (0, [4, 1], 2, 7.0),
        (0, [5, 1], 3, 6.0),
        (1, [9, 9], 3, 6.0),
    ]
    assert [row["program"] for row in views.archive_view(store, Direction.MIN)] == [3, 2, 3]
    assert "4 1" in printed(view, text.print_archive)


def test_a_run_without_an_archive_says_so(store):
    """No cells are no error."""
    assert views.archive_view(store, Direction.MAX) == []
    assert printed([], text.print_archive).startswith("no archive")


def test_an_island_counts_natives_and_migrants_and_names_its_best(store):
    """A migrant counts where it went, as a program and not as born there."""
    for program in (valid(1, 5.0), valid(2, 7.0), valid(3, 6.0)):
        store.insert_attempt(program)
    places = [member_of(1), member_of(2, island=1), member_of(3, island=1), member_of(2, migrant=True)]
    store.finish_step(report(1), places, [cell_of(2, cell=(1,), island=1)])

    one, two = views.islands_view(store, Direction.MAX)

    assert one == {
        "island": 0,
        "programs": 3,
        "born": 2,
        "migrants": 1,
        "elites": 0,
        "newest": 1,
        "best": 2,
        "score": 7.0,
    }
    assert (two["programs"], two["born"], two["migrants"], two["elites"], two["best"]) == (2, 2, 0, 1, 2)
    assert views.islands_view(store, Direction.MIN)[1]["best"] == 3


def test_avoided_evaluations_are_repetitions_and_shared_ones(store):
    """Of 7 completions 6 hold a program: one repeats its parent, two a known one, two are one program: 2 are run."""
    store.insert_attempt(attempt(1))
    store.insert_attempt(attempt(2, outcome=Outcome.UNCHANGED, known_as=0))
    store.insert_attempt(attempt(3, outcome=Outcome.DUPLICATE, known_as=0))
    store.insert_attempt(attempt(4, outcome=Outcome.DUPLICATE, known_as=0))
    store.insert_attempt(valid(5, 2.0))
    store.insert_attempt(valid(6, 2.0, identity="tree 5"))
    store.insert_attempt(child(7, Outcome.CRASHED, None))

    view = views.outcomes_view(store)

    assert view["completions"] == 7
    assert [(row["outcome"], row["count"]) for row in view["outcomes"]] == [
        ("duplicate", 2),
        ("valid", 2),
        ("crashed", 1),
        ("no_code", 1),
        ("unchanged", 1),
    ]
    assert view["outcomes"][0]["share"] == 2 / 7
    assert view["evaluated"] == 2
    assert view["avoided"] == {"unchanged": 1, "duplicate": 2, "shared": 1, "total": 4, "share": 4 / 6}
    assert "4 evaluations, 66.7 %" in printed(view, text.print_outcomes)


def test_a_run_without_completions_has_no_outcomes(store):
    """Nothing is divided by nothing."""
    view = views.outcomes_view(store)

    assert (view["completions"], view["outcomes"], view["avoided"]["share"]) == (0, [], 0.0)


def test_a_lineage_shows_the_diff_and_the_gain_of_each_step(store):
    """From the seed down; a gain is in the problem's direction, and a failed program has none."""
    store.insert_attempt(valid(1, 4.0, source="x = 0\ny = 1"))
    later = {"step": 2, "draw": Draw(island=0, parent_id=1)}
    store.insert_attempt(child(2, Outcome.CRASHED, None, source="x = 0\ny = 2\n", **later))

    seed, first, last = views.lineage_view(store, 2, Direction.MIN)["lineage"]

    assert (seed["program"], seed["parent"], seed["better_by"]) == (0, None, None)
    assert seed["diff"].endswith("+x = 0")
    assert (first["better_by"], first["diff"].splitlines()[-1]) == (-3.0, "+y = 1")
    assert (last["outcome"], last["better_by"]) == ("crashed", None)
    assert last["diff"].splitlines()[-2:] == ["-y = 1", "+y = 2"]


def test_diffs_are_coloured_on_a_terminal_alone(store):
    """Added lines are green, removed ones red; a pipe gets the same words without a single escape."""
    store.insert_attempt(valid(1, 4.0, source="x = 2"))
    view = views.lineage_view(store, 1, Direction.MAX)

    colours, plain = (printed(view, text.print_lineage, colours=chosen) for chosen in (True, False))

    assert "\x1b[32m+x = 2" in colours
    assert "\x1b[31m-x = 0" in colours
    assert "\x1b" not in plain
    assert "program 1, step 1, child of 0: 4.0, better by 3" in plain


def test_what_a_model_wrote_is_neither_obeyed_nor_read_as_markup(store):
    """Escape sequences are spelled out in diffs, texts and tables, and [bold] stands as it was written."""
    hostile = "x = '[bold]\x1b[2J'"
    store.insert_attempt(valid(1, 4.0, source=hostile, feedback=hostile, completion=completion(1, text=hostile)))
    store.insert_confirmation(
        Confirmation(program_id=1, confirmed=False, reason=hostile, origin=Origin.SCRATCH, evaluations=())
    )
    shown = [
        printed(views.attempt_view(store, 1), text.print_attempt),
        printed(views.lineage_view(store, 1, Direction.MAX), text.print_lineage),
        printed(views.confirmations_view(store), text.print_confirmations),
    ]

    for words in shown:
        assert "\x1b" not in words
        assert r"[bold]\x1b[2J" in words


def test_moves_are_told_apart_by_the_prompts_that_showed_them(store):
    """A move that a program quotes is not the one that was shown, and one that another begins with is not that one."""
    problem = replace(load_problem("circle_packing"), moves=("Climb.", "Climb. Then stop.", "Never drawn."))

    def prompt(*parts: str) -> tuple[Message, ...]:
        return (Message(role="system", content="Never drawn."), Message(role="user", content="\n".join(parts)))

    climb = prompt("# Never drawn.", "An idea to try: Climb.", "Write a program.")
    stop = prompt("# Never drawn.", "An idea to try: Climb. Then stop.", "Write a program.")
    for made in (
        attempt(1, prompt=climb),
        valid(2, 1.0, prompt=climb),
        valid(3, 7.0, prompt=stop),
        valid(4, 9.0, prompt=stop),
        attempt(5, prompt=prompt("Write a program.")),
        valid(6, 0.5, prompt=prompt("Another program.", "An idea to try: Climb."), draw=Draw(island=0, parent_id=0)),
    ):
        store.insert_attempt(made)
    store.insert_confirmation(
        Confirmation(program_id=4, confirmed=False, reason="luck", origin=Origin.SCRATCH, evaluations=())
    )
    store.finish_step(report(1), [])

    view = views.moves_view(store, problem)

    assert view == [
        {"move": "Climb. Then stop.", "completions": 2, "valid": 1.0, "improved": 0.5, "best": 7.0},
        {"move": "Climb.", "completions": 3, "valid": 2 / 3, "improved": 0.0, "best": 1.0},
        {"move": None, "completions": 1, "valid": 0.0, "improved": 0.0, "best": None},
    ]
    lower = views.moves_view(store, replace(problem, direction=Direction.MIN))
    assert [(row["improved"], row["best"]) for row in lower] == [(1 / 3, 0.5), (0.0, 7.0), (0.0, None)]
    assert "(none)" in printed(view, text.print_moves)


def test_a_run_without_completions_has_no_moves(store):
    """The seed program was asked for by no prompt."""
    assert views.moves_view(store, load_problem("circle_packing")) == []
    assert printed([], text.print_moves).startswith("no moves")


def test_a_program_in_quarantine_is_no_best(store):
    """It is left out of the best programs with those that are the same, and counted and explained beside them."""
    for program in (valid(1, 9.0), valid(2, 9.0, identity="tree 1"), valid(3, 5.0)):
        store.insert_attempt(program)
    failed = Evaluation(outcome=Outcome.CRASHED, seed=8)
    store.insert_confirmation(
        Confirmation(program_id=1, confirmed=False, reason="luck", origin=Origin.SCRATCH, evaluations=(failed,))
    )
    again = Evaluation(outcome=Outcome.VALID, seed=9, score=4.5)
    store.insert_confirmation(
        Confirmation(program_id=3, confirmed=True, reason="", origin=Origin.SEEDED, evaluations=(again,))
    )

    store.finish_step(report(1, attempts=3, best=4.75, finished_s=20.0), [member_of(3)])

    summary = views.run_view(store, Direction.MAX, limit=2)
    lucky, best = views.confirmations_view(store)

    assert [(row["program"], row["confirmed"]) for row in summary["best_programs"]] == [(3, True), (0, None)]
    assert summary["best_against_time"] == [[12.5, 0, 4.5], [20.0, 3, 4.75]]  # by step, as their reports have it
    assert summary["quarantined"] == 1
    assert (lucky["reason"], lucky["scores"], lucky["score"]) == ("luck", [None], 9.0)
    assert (best["origin"], best["scores"]) == ("seeded", [4.5])
    assert "in quarantine: 1 programs" in printed(summary, text.print_run)
    assert "in quarantine: luck" in printed(views.attempt_view(store, 1), text.print_attempt)


def test_what_the_learner_did_is_shown_by_step(store):
    """Names and values as they were stored."""
    store.finish_step(report(1), [])
    store.insert_training(Training(step=1, values={"loss": 0.25, "update_s": 3.0}))

    view = views.trainings_view(store)

    assert view == [{"step": 1, "values": {"loss": 0.25, "update_s": 3.0}}]
    assert printed(view, text.print_trainings) == "step 1: loss 0.25, update_s 3\n"


def test_steps_are_shown_as_they_were_reported(store):
    """Every figure of a report is in its row."""
    store.finish_step(report(1), [])

    row = views.steps_view(store)[1]

    assert row == json.loads(json.dumps(row))
    assert (row["step"], row["best"], row["outcomes"], row["stragglers"]) == (1, 4.5, {"no_code": 3, "valid": 2}, 11)
    assert "4.5" in printed([row], text.print_steps)


def test_merged_programs_are_no_completions(store):
    """They are counted beside the model's own work, and have neither a parent nor an influence on what was avoided."""
    for number in (-1, -2):
        store.insert_attempt(valid(number, 3.0, step=0, draw=Draw(island=0, parent_id=number)))
    store.insert_attempt(valid(1, 2.0))

    summary = views.run_view(store, Direction.MAX, limit=9)

    assert (summary["merged"], summary["completions"]) == (2, 1)
    assert views.outcomes_view(store)["evaluated"] == 1
    assert [row["program"] for row in views.attempt_view(store, -1)["lineage"]] == [-1]
    assert views.attempt_view(store, -1)["parent"] is None
