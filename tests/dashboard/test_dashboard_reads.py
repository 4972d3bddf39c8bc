"""The reads of the dashboard, on every kind of database."""

import shutil
from dataclasses import replace

import pytest
from attempts import attempt, member_of, new_run, report, valid

from benchmarks.dashboard import Growth, made_up_run
from database import open_database
from database.dashboard import open_for_reading
from evolve.dashboard.catalog import Catalog, key_of
from evolve.errors import NotFoundError, StoreError
from evolve.types import Confirmation, Origin, Outcome, Training


@pytest.fixture
def url(made_database: str) -> str:
    """A database with one run of two steps."""
    with open_database(made_database) as database:
        store = database.create_run(problem="p", model="m", folder="/run", seed=1, config="", started_at=0.0)
        growth = Growth(store)
        growth.seed()
        growth.grow()
        growth.grow()
    return made_database


def test_the_reads_agree_with_the_store(url):
    """What is read narrowly is what the store reads whole: reports, lineages, scores, cells, the latest attempts."""
    with open_for_reading(url) as database, open_database(url) as whole:
        views, store = database.views(1), whole.run(1)
        best = max(store.members(), key=lambda member: member.score or 0.0)

        assert views.pulse().step == 2
        assert views.pulse().attempt == 1024
        assert views.pulse().missing == 0
        assert views.reports_after(0) == store.reports()[1:]
        assert views.running_outcomes(1) == store.reports()[2].outcomes
        assert {(each.id, each.parent_id, each.score) for each in views.sprouts_after(-1)} == {
            (member.id, member.parent_id, member.score) for member in store.members()
        }
        assert views.valid_programs() == len(store.members())
        assert [each.id for each in views.ancestry(best.id)] == [each.id for each in store.lineage(best.id)]
        assert views.ancestry(99_999) == []
        held = {(cell.island, cell.grid, cell.cell): cell for cell in store.archive_cells()}
        assert {(cell.island, cell.grid, cell.cell): cell for _, cell in views.cells_after(-1)} == held
        assert len(views.cells_after(-1)) == len(held)
        assert views.cells_after(len(store.archive_cells()) - 1) == []
        assert views.attempts([best.id, 99_999]) == [store.attempt(best.id)]
        assert views.attempts([]) == []
        assert views.scores_of([best.id, 99_999]) == {best.id: best.score}
        assert [(each.id, each.outcome) for each in views.recent(3)] == [
            (number, store.attempt(number).outcome) for number in (1024, 1023, 1022)
        ]
        firstborn = [each.id for each in store.attempts_of(1) if each.source is not None and each.draw.parent_id == 0]
        assert {store.program(number).outcome for number in firstborn[:5]} == {Outcome.VALID, Outcome.CRASHED}
        assert [child.id for child in views.children(0, 5)] == firstborn[:5]
        assert sum(views.island_sizes().values()) == len(store.memberships())
        with pytest.raises(NotFoundError):
            database.views(7)


def test_the_pulse_changes_with_whatever_is_stored_and_with_nothing_else(made_database):
    """An attempt that comes long after its step, a confirmation and a figure of the learner change it, each by itself.

    One who looks for the first time sees what one sees who looked all the time.
    """
    with open_database(made_database) as whole, open_for_reading(made_database) as database:
        store = new_run(whole, "/run")
        views = database.views(store.record.id)
        seen = [views.pulse()]
        for write in (
            lambda: store.insert_attempts([valid(3, 2.0), attempt(7), attempt(400, step=2)]),
            lambda: store.finish_step(report(1), [member_of(3)]),
            lambda: store.insert_attempt(attempt(5)),
            lambda: store.insert_attempts([attempt(8), attempt(6)]),
            lambda: store.insert_attempts([attempt(id_) for id_ in range(10, 399, 2)]),  # more gaps than one question
            lambda: store.insert_attempts([attempt(id_) for id_ in range(9, 400, 2)]),
            lambda: store.insert_confirmation(
                Confirmation(program_id=3, confirmed=True, reason="", origin=Origin.SCRATCH, evaluations=())
            ),
            lambda: store.amend_report(report(1, attempts=4)),
            lambda: store.insert_training(Training(step=1, values={"reward": 1.0})),
            lambda: store.insert_attempts([attempt(id_) for id_ in (2, 1)]),
        ):
            write()
            seen.append(views.pulse())
            assert views.pulse() == seen[-1] == database.views(store.record.id).pulse()
        other = new_run(whole, "/other")
        other.insert_attempt(attempt(9))

        assert len(set(seen)) == len(seen)
        assert views.pulse() == seen[-1]
        assert seen[-1].missing == 1
        assert seen[-1].attempt == 400


def test_nothing_can_be_written_through_it(url):
    """The connections of the dashboard refuse to change a row, on every kind of database."""
    with open_for_reading(url) as database:
        views = database.views(1)

        with pytest.raises(StoreError, match=r"read-?only"):
            database.create_run(problem="p", model="m", folder="/f", seed=1, config="", started_at=0.0)
        with pytest.raises(StoreError, match=r"read-?only"):
            views.insert_attempt(Growth(views).seed_attempt())
        assert views.pulse().attempt == 1024


def test_a_run_made_anew_in_the_place_of_another_is_read_anew(tmp_path):
    """A folder that was removed and filled again shows the new run, not what was remembered of the old one."""
    folder = tmp_path / "run"
    with Catalog(runs=tmp_path) as catalog:
        with made_up_run(folder) as growth:
            growth.grow()
            assert catalog.all()[0][0].views.pulse().attempt == 512
        shutil.rmtree(folder)
        assert catalog.all() == ([], [])
        with made_up_run(folder, seed=2) as growth:
            (run,) = catalog.all()[0]
            assert (run.record.seed, run.views.pulse().attempt) == (2, 0)
            assert run.reports()[0].outcomes == {Outcome.VALID: 1}


def test_a_report_that_counts_more_in_the_end_is_read_again(tmp_path):
    """What ended after the last step is in that step's report, also for who has read it before."""
    with Catalog(runs=tmp_path) as catalog, made_up_run(tmp_path / "run") as growth:
        growth.grow()
        (run,) = catalog.all()[0]
        first, last = run.reports()
        growth.store.amend_report(replace(last, attempts=last.attempts + 3))

        assert [one.attempts for one in run.reports()] == [first.attempts, last.attempts + 3]
        growth.grow()
        assert [one.step for one in run.reports()] == [0, 1, 2]


def test_a_run_whose_new_database_is_damaged_comes_back_when_it_is_mended(tmp_path):
    """Made anew in the place of another, it is listed with the reason, beside the others, until it can be read."""
    folder = tmp_path / "run"
    with Catalog(runs=tmp_path) as catalog, made_up_run(tmp_path / "other"):
        with made_up_run(folder):
            assert len(catalog.all()[0]) == 2
        shutil.rmtree(folder)
        with made_up_run(folder, seed=2):
            pass
        database = folder / "evolve.db"
        whole = database.read_bytes()
        database.write_bytes(b"damaged")
        for _ in range(2):
            found, (unreadable,) = catalog.all()
            assert [run.name for run in found] == ["other"]
            assert unreadable.folder == folder
            with pytest.raises(StoreError):
                catalog.run(key_of(folder))
        database.write_bytes(whole)

        assert catalog.all()[1] == []
        assert catalog.run(key_of(folder)).record.seed == 2
