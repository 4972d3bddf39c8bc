"""A damaged SQLite file: errors of one line, and whatever the damage did not touch can still be read."""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from attempts import attempt, cell_of, member_of, new_run, report, valid
from sqlalchemy import text

from database import open_database
from database.session import Storage, connect
from database.store import RunStore
from evolve.errors import StoreError
from evolve.types import Direction

PAGE = 8192
READS: dict[str, Callable[[RunStore], object]] = {
    "attempts": lambda run: run.attempts_of(1),
    "members": lambda run: run.members(),
    "memberships": lambda run: run.memberships(),
    "cells": lambda run: run.archive_cells(),
    "reports": lambda run: run.reports(),
    "best": lambda run: run.best_programs(5, Direction.MAX),
    "known": lambda run: run.known("tree 7", before_step=2),
    "counts": lambda run: run.outcome_counts(),
    "program": lambda run: run.program(7),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A run with 300 programs in a step, each with texts that do not compress."""
    path = tmp_path / "evolve.db"
    rng = random.Random(0)
    with open_database(f"sqlite:///{path}") as database:
        run = new_run(database, "/runs/one")
        ids = range(1, 301)
        run.insert_attempts(valid(number, 1.0, source=rng.randbytes(400).hex()) for number in ids)
        run.insert_attempt(attempt(301))
        run.finish_step(report(1), [member_of(number) for number in ids], [cell_of(1, cell=(1, 2))])
    return path


def answers(path: Path) -> dict[str, object]:
    """Return what each read gives, or the error that it raises."""
    found: dict[str, object] = {}
    try:
        with open_database(f"sqlite:///{path}", create=False) as database:
            run = database.run(1)
            for name, read in READS.items():
                try:
                    found[name] = read(run)
                except StoreError as error:
                    found[name] = error
    except StoreError as error:
        return dict.fromkeys(READS, error)
    return found


def test_a_program_without_a_text_is_damage(path: Path) -> None:
    """No program of ours stores one; its neighbours are read."""
    storage = Storage(connect(f"sqlite:///{path}", create=False))
    with storage.writing() as connection:
        connection.execute(text("UPDATE attempts SET source = NULL WHERE id = 7"))
    storage.close()

    with open_database(f"sqlite:///{path}") as database:
        run = database.run(1)
        with pytest.raises(StoreError, match="holds what nobody stored: the file is damaged"):
            run.program(7)
        assert run.program(8).score == 1.0


def test_damage_is_named_and_the_rest_is_read(path: Path) -> None:
    """Pages of rubbish, one at a time: no read raises anything but a line that says what to do, and most reads work."""
    whole, sound = path.read_bytes(), answers(path)
    rng = random.Random(1)
    ends: Counter[str] = Counter()
    for page in rng.sample(range(1, len(whole) // PAGE), 15):
        damaged = bytearray(whole)
        damaged[page * PAGE : (page + 1) * PAGE] = rng.randbytes(PAGE)
        path.write_bytes(damaged)
        for name, answer in answers(path).items():
            if isinstance(answer, StoreError):
                assert "damaged" in str(answer)
                assert "\n" not in str(answer)
                ends["refused"] += 1
            else:
                ends["the same" if answer == sound[name] else "other"] += 1

    assert ends["refused"] > 0
    assert ends["the same"] > ends["refused"]
    assert ends["other"] == 0
