"""Attempts, reports and places as several tests of the store make them."""

from dataclasses import replace

from database import Database, RunStore
from evolve.types import (
    ArchiveCell,
    Attempt,
    Completion,
    Draw,
    Evaluation,
    FinishReason,
    Membership,
    Message,
    Outcome,
    StepReport,
)


def new_run(database: Database, folder: str) -> RunStore:
    """Make a run and store its seed program."""
    run = database.create_run(problem="p", model="m", folder=folder, seed=1, config="a: 1\n", started_at=5.0)
    run.insert_attempt(valid(0, 1.0, step=0, completion=completion(0, text="", tokens=0, prompt_tokens=0), prompt=()))
    run.finish_step(report(0), [member_of(0, step=0)])
    return run


def completion(sample: int, **changes: object) -> Completion:
    """A reply of 7 tokens to a prompt of 20."""
    plain = Completion(
        group=0, sample=sample, text="reply", tokens=7, prompt_tokens=20, finish_reason=FinishReason.STOP
    )
    return replace(plain, **changes)


def attempt(number: int, **changes: object) -> Attempt:
    """An attempt of step 1 whose reply held no code."""
    plain = Attempt(
        id=number,
        step=1,
        draw=Draw(island=0, parent_id=0),
        prompt=(Message(role="user", content="improve it"),),
        completion=completion(number),
        outcome=Outcome.NO_CODE,
        feedback="",
        reward=0.0,
    )
    return replace(plain, **changes)


def child(number: int, outcome: Outcome, score: float | None, **changes: object) -> Attempt:
    """An attempt with a program of its own that was run once."""
    evaluation = Evaluation(outcome=outcome, seed=3, score=score, construction=None if score is None else "[1]")
    plain = attempt(
        number,
        outcome=outcome,
        identity=f"tree {number}",
        source=f"x = {number}",
        evaluations=(evaluation,),
        score=score,
    )
    return replace(plain, **changes)


def valid(number: int, score: float, **changes: object) -> Attempt:
    """An attempt with a valid program."""
    return child(number, Outcome.VALID, score, **changes)


def member_of(program_id: int, *, step: int = 1, island: int = 0, migrant: bool = False) -> Membership:
    """A membership."""
    return Membership(program_id=program_id, island=island, step=step, migrant=migrant)


def cell_of(program_id: int, *, cell: tuple[int, ...], step: int = 1, island: int = 0, grid: int = 0) -> ArchiveCell:
    """A cell that a program took."""
    return ArchiveCell(program_id=program_id, island=island, grid=grid, cell=cell, step=step)


def report(step: int, **changes: object) -> StepReport:
    """A report in which every number differs from the others."""
    plain = StepReport(
        step=step,
        attempts=1,
        outcomes={Outcome.VALID: 2, Outcome.NO_CODE: 3},
        best=4.5,
        improved=5,
        tokens=6,
        prompt_tokens=7,
        generate_s=8.5,
        tail_s=9.5,
        database_s=10.5,
        stragglers=11,
        finished_s=12.5,
    )
    return replace(plain, **changes)
