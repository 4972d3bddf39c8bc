"""From the system's frozen values to rows and back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from database import codec
from database.rows import (
    AttemptRow,
    CellRow,
    ConfirmationEvaluationRow,
    ConfirmationRow,
    EvaluationRow,
    ProgramRow,
    RunRow,
    StepRow,
)
from evolve.types import (
    ArchiveCell,
    Attempt,
    Completion,
    Confirmation,
    Draw,
    Evaluation,
    Message,
    Outcome,
    Program,
    RunRecord,
    StepReport,
)

#: Outcomes of children that ran and failed, of which a prompt shows the newest.
FAILURES = frozenset(
    {
        Outcome.CRASHED,
        Outcome.TIMED_OUT,
        Outcome.OUT_OF_MEMORY,
        Outcome.OUTPUT_LIMIT,
        Outcome.VIOLATION,
        Outcome.KILLED,
        Outcome.INVALID,
    }
)

Values = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptValues:
    """The rows of one attempt, texts compressed, ready to be inserted.

    Attributes:
        program: None when the attempt has no source of its own.
    """

    id: int
    prompt: codec.PackedPrompt
    attempt: Values
    program: Values | None
    evaluations: list[Values]


def attempt_values(run_id: int, attempt: Attempt, prompt: codec.PackedPrompt) -> AttemptValues:
    """Return the rows that hold `attempt`, whose prompt is packed as `prompt`.

    Raises:
        ValueError: It has evaluations or a score without a source, or a source without an identity, or its reward is
            not a number: what would come back were not what went in.
    """
    if attempt.source is None and (attempt.evaluations or attempt.score is not None):
        raise ValueError(f"attempt {attempt.id} was evaluated and has no source")
    if attempt.source is not None and attempt.identity is None:
        raise ValueError(f"attempt {attempt.id} has a source and no identity")
    if attempt.reward is not None and math.isnan(attempt.reward):
        raise ValueError(f"attempt {attempt.id} has the reward NaN; None masks an attempt")
    return AttemptValues(
        id=attempt.id,
        prompt=prompt,
        attempt=_attempt_values(run_id, prompt.sha256, attempt),
        program=_program_values(run_id, attempt),
        evaluations=[
            _evaluation_values(run_id, attempt.id, number, evaluation)
            for number, evaluation in enumerate(attempt.evaluations)
        ],
    )


def _attempt_values(run_id: int, prompt_sha256: bytes, attempt: Attempt) -> Values:
    completion = attempt.completion
    return {
        "run_id": run_id,
        "id": attempt.id,
        "step": attempt.step,
        "island": attempt.draw.island,
        "parent_id": attempt.draw.parent_id,
        "outcome": attempt.outcome,
        "reward": attempt.reward,
        "known_as": attempt.known_as,
        "finished_s": attempt.finished_s,
        "sample_group": completion.group,
        "sample": completion.sample,
        "tokens": completion.tokens,
        "prompt_tokens": completion.prompt_tokens,
        "finish_reason": completion.finish_reason,
        "seconds": completion.seconds,
        "identity": attempt.identity,
        "prompt_sha256": prompt_sha256,
        "inspiration_ids": list(attempt.draw.inspiration_ids),
        "feedback": codec.pack_text(attempt.feedback),
        "reply": codec.pack_text(completion.text),
        "token_ids": codec.pack_ids(completion.token_ids),
        "logprobs": codec.pack_floats(completion.logprobs),
        "source": None if attempt.source is None else codec.pack_text(attempt.source),
    }


def _program_values(run_id: int, attempt: Attempt) -> Values | None:
    """Return the row of the attempt's program, None when it has none of its own."""
    if attempt.source is None:
        return None
    return {
        "run_id": run_id,
        "id": attempt.id,
        "parent_id": None if attempt.is_root else attempt.draw.parent_id,
        "step": attempt.step,
        "outcome": attempt.outcome,
        "failed": attempt.outcome in FAILURES,
        "score": attempt.score,
        "length": len(attempt.source),
        "identity": attempt.identity,
        "measures": codec.pack_numbers(attempt.measures),
    }


def _evaluation_values(run_id: int, program_id: int, number: int, evaluation: Evaluation) -> Values:
    construction = evaluation.construction
    return {
        "run_id": run_id,
        "program_id": program_id,
        "number": number,
        "seed": evaluation.seed,
        "outcome": evaluation.outcome,
        "score": evaluation.score,
        "wall_s": evaluation.wall_s,
        "cpu_s": evaluation.cpu_s,
        "peak_memory_mib": evaluation.peak_memory_mib,
        "peak_processes": evaluation.peak_processes,
        "exact": evaluation.exact,
        "feedback": codec.pack_text(evaluation.feedback),
        "construction": None if construction is None else codec.pack_text(construction),
        "measures": codec.pack_numbers(evaluation.measures),
    }


def confirmation_values(run_id: int, number: int, confirmation: Confirmation) -> tuple[Values, list[Values]]:
    """Return the row that holds `confirmation`, and those of its evaluations."""
    row: Values = {
        "run_id": run_id,
        "program_id": confirmation.program_id,
        "number": number,
        "confirmed": confirmation.confirmed,
        "origin": confirmation.origin,
        "reason": codec.pack_text(confirmation.reason),
    }
    return row, [
        _evaluation_values(run_id, confirmation.program_id, number, evaluation)
        for number, evaluation in enumerate(confirmation.evaluations)
    ]


def cell_values(run_id: int, number: int, cell: ArchiveCell) -> Values:
    """Return the row that holds `cell`."""
    return {
        "run_id": run_id,
        "number": number,
        "program_id": cell.program_id,
        "island": cell.island,
        "grid": cell.grid,
        "step": cell.step,
        "cell": list(cell.cell),
    }


def step_values(run_id: int, report: StepReport) -> Values:
    """Return the row that holds `report`."""
    return {
        "run_id": run_id,
        "step": report.step,
        "attempts": report.attempts,
        "best": report.best,
        "improved": report.improved,
        "tokens": report.tokens,
        "prompt_tokens": report.prompt_tokens,
        "generate_s": report.generate_s,
        "tail_s": report.tail_s,
        "database_s": report.database_s,
        "stragglers": report.stragglers,
        "finished_s": report.finished_s,
        "outcomes": {outcome.value: count for outcome, count in report.outcomes.items()},
    }


def to_attempt(
    row: AttemptRow, prompt: tuple[Message, ...], program: ProgramRow | None, evaluations: Sequence[EvaluationRow]
) -> Attempt:
    """Return the attempt that these rows hold."""
    return Attempt(
        id=row.id,
        step=row.step,
        draw=Draw(island=row.island, parent_id=row.parent_id, inspiration_ids=tuple(row.inspiration_ids)),
        prompt=prompt,
        completion=Completion(
            group=row.sample_group,
            sample=row.sample,
            text=codec.unpack_text(row.reply),
            tokens=row.tokens,
            prompt_tokens=row.prompt_tokens,
            finish_reason=row.finish_reason,
            token_ids=codec.unpack_ids(row.token_ids),
            logprobs=codec.unpack_floats(row.logprobs),
            seconds=row.seconds,
        ),
        outcome=row.outcome,
        feedback=codec.unpack_text(row.feedback),
        reward=row.reward,
        identity=row.identity,
        source=None if row.source is None else codec.unpack_text(row.source),
        known_as=row.known_as,
        evaluations=tuple(to_evaluation(evaluation) for evaluation in evaluations),
        score=None if program is None else program.score,
        finished_s=row.finished_s,
    )


def to_evaluation(row: EvaluationRow | ConfirmationEvaluationRow) -> Evaluation:
    """Return the evaluation that this row holds."""
    return Evaluation(
        outcome=row.outcome,
        seed=row.seed,
        score=row.score,
        exact=row.exact,
        measures=codec.unpack_numbers(row.measures),
        feedback=codec.unpack_text(row.feedback),
        construction=None if row.construction is None else codec.unpack_text(row.construction),
        wall_s=row.wall_s,
        cpu_s=row.cpu_s,
        peak_memory_mib=row.peak_memory_mib,
        peak_processes=row.peak_processes,
    )


def to_program(row: ProgramRow, source: bytes | None) -> Program:
    """Return the program that this row holds, with its attempt's source.

    Raises:
        ValueError: There is none: nobody stored such a program.
    """
    if source is None:
        raise ValueError(f"program {row.id} has no source")
    return Program(
        id=row.id,
        parent_id=row.parent_id,
        step=row.step,
        source=codec.unpack_text(source),
        identity=row.identity,
        outcome=row.outcome,
        score=row.score,
    )


def to_report(row: StepRow) -> StepReport:
    """Return the report that this row holds."""
    return StepReport(
        step=row.step,
        attempts=row.attempts,
        outcomes={Outcome(name): count for name, count in row.outcomes.items()},
        best=row.best,
        improved=row.improved,
        tokens=row.tokens,
        prompt_tokens=row.prompt_tokens,
        generate_s=row.generate_s,
        tail_s=row.tail_s,
        database_s=row.database_s,
        stragglers=row.stragglers,
        finished_s=row.finished_s,
    )


def to_cell(row: CellRow) -> ArchiveCell:
    """Return the cell that this row holds."""
    return ArchiveCell(program_id=row.program_id, island=row.island, grid=row.grid, cell=tuple(row.cell), step=row.step)


def to_confirmation(row: ConfirmationRow, evaluations: Sequence[ConfirmationEvaluationRow]) -> Confirmation:
    """Return the confirmation that these rows hold."""
    return Confirmation(
        program_id=row.program_id,
        confirmed=row.confirmed,
        reason=codec.unpack_text(row.reason),
        origin=row.origin,
        evaluations=tuple(to_evaluation(evaluation) for evaluation in evaluations),
    )


def to_record(row: RunRow) -> RunRecord:
    """Return the record that this row holds."""
    return RunRecord(
        id=row.id,
        problem=row.problem,
        model=row.model,
        folder=row.folder,
        seed=row.seed,
        config=codec.unpack_text(row.config),
        started_at=row.started_at,
        fingerprint=row.fingerprint or "",
    )
