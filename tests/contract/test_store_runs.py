"""What every database promises of the runs in it."""

import pytest
from attempts import attempt, cell_of, child, member_of, new_run, report, valid

from database import Database, RunStore, open_database
from evolve.errors import NotFoundError, RunFolderError, StoreError
from evolve.types import Confirmation, Direction, Evaluation, Origin, Outcome, Training


def test_runs_do_not_see_one_another(database: Database) -> None:
    """The same ids, prompts and identities in two runs stay apart."""
    one, two = new_run(database, "/runs/one"), new_run(database, "/runs/two")
    one.insert_attempt(valid(1, 5.0))
    two.insert_attempt(child(1, Outcome.CRASHED, None))
    two.insert_attempt(attempt(2))

    assert [program.score for program in one.best_programs(9, Direction.MAX)] == [5.0, 1.0]
    assert [program.score for program in two.best_programs(9, Direction.MAX)] == [1.0]
    assert (one.attempts_made(), two.attempts_made()) == (1, 2)
    assert one.last_failure(0, before_step=9) is None
    assert one.memberships() == two.memberships() == [member_of(0, step=0)]
    assert [program.score for program in one.lineage(1)] == [1.0, 5.0]
    assert [stored.outcome for stored in one.attempts_of(1)] == [Outcome.VALID]
    two.insert_attempt(valid(3, 5.0, identity="tree 1"))
    one.finish_step(report(1), [member_of(1)])
    assert [stored.id for stored in two.unsettled(before_step=2)] == [3]
    one.insert_confirmation(
        Confirmation(program_id=1, confirmed=True, reason="", origin=Origin.SCRATCH, evaluations=())
    )
    one.insert_training(Training(step=1, values={"loss": 1.0}))
    one.finish_step(report(2), [], [cell_of(1, cell=(1,), step=2)])
    assert (two.confirmations(), two.trainings(), two.archive_cells()) == ([], [], [])


def test_programs_that_another_run_of_the_problem_evaluated_are_found(database: Database) -> None:
    """By identity, with all runs of the oldest; not its own, nor those judged by other files or another problem."""

    def run(folder: str, problem: str, fingerprint: str) -> RunStore:
        return database.create_run(
            problem=problem, model="m", folder=folder, seed=1, config="", started_at=0.0, fingerprint=fingerprint
        )

    other_files, other_problem, unknown = run("/a", "p", "old"), run("/b", "q", "new"), run("/c", "p", "")
    first, second, ours = run("/d", "p", "new"), run("/e", "p", "new"), run("/f", "p", "new")
    for number, store in enumerate((other_files, other_problem, unknown, ours, second)):
        store.insert_attempt(valid(0, float(number), step=0, identity="same"))
    assert ours.record.fingerprint == "new"
    assert [run.score for run in ours.evaluated_elsewhere("same")] == [4.0]

    runs = (
        Evaluation(outcome=Outcome.VALID, seed=1, score=9.0, construction="[9]", measures={"gap": 1.0}),
        Evaluation(outcome=Outcome.CRASHED, seed=2, feedback="no luck"),
    )
    first.insert_attempt(child(0, Outcome.CRASHED, None, step=0, identity="same", evaluations=runs))

    assert ours.evaluated_elsewhere("same") == list(runs)
    assert ours.evaluated_elsewhere("other") == []
    assert unknown.evaluated_elsewhere("same") == []


def test_a_run_is_found_again_by_id_and_by_folder(url: str) -> None:
    """After the database was closed and opened again, with all that it held."""
    with open_database(url) as database:
        new_run(database, "/runs/one")
        record = new_run(database, "/runs/zwei \u00fc").record
    with open_database(url, create=False) as database:
        assert database.runs() == [database.run(1).record, record]
        again = database.find_run("/runs/zwei \u00fc")
        assert again is not None
        assert again.record == database.run(record.id).record == record
        assert again.program(0).source == "x = 0"
        assert database.find_run("/runs/three") is None
        assert database.find_run("/runs/\udcff") is None
        with pytest.raises(NotFoundError, match="no run 7"):
            database.run(7)


def test_a_folder_holds_one_run(database: Database) -> None:
    """A second one is refused with the number of the first."""
    new_run(database, "/runs/one")

    with pytest.raises(RunFolderError, match="holds run 1 already"):
        new_run(database, "/runs/one")
    assert len(database.runs()) == 1


def test_a_run_that_never_began_gives_its_folder_back(database: Database) -> None:
    """A process that is killed between the run's row and its first attempt leaves a folder that can be used."""
    database.create_run(problem="p", model="m", folder="/runs/one", seed=1, config="", started_at=0.0)

    new_run(database, "/runs/one")

    assert [record.folder for record in database.runs()] == ["/runs/one"]


@pytest.mark.parametrize("folder", ["/runs/\udcff", "/runs/\x00"])
def test_a_folder_that_is_no_text_is_refused(database: Database, folder: str) -> None:
    """Not every database can hold it; the message says to choose another."""
    with pytest.raises(RunFolderError, match="use another name"):
        new_run(database, folder)


def test_a_closed_database_says_so(url: str) -> None:
    """A straggling thread gets an error of one line, and no connection is opened behind the caller's back."""
    with open_database(url) as database:
        run = new_run(database, "/runs/one")

    for use in (run.members, lambda: run.insert_attempt(attempt(1)), database.runs):
        with pytest.raises(StoreError, match="is closed"):
            use()
