"""What the views of `evolve show` hold, read from a run; `shapes.py` says what it means."""

import difflib
import json
from collections import defaultdict
from collections.abc import Sequence

from database.store import RunStore
from evolve.show.shapes import (
    AttemptView,
    CellView,
    ConfirmationView,
    EvaluationView,
    IslandView,
    LineageView,
    MoveView,
    OutcomesView,
    ProgramView,
    RunView,
    StepOfLineage,
    StepView,
    TrainingView,
)
from evolve.standing import best_curve
from evolve.types import ArchiveCell, Confirmation, Direction, Evaluation, Outcome, Problem, Program, PromptTally


def run_view(store: RunStore, direction: Direction, limit: int) -> RunView:
    """Return the summary of a run."""
    record, reports = store.record, store.reports()
    return {
        "run": record.id,
        "problem": record.problem,
        "model": record.model,
        "folder": record.folder,
        "seed": record.seed,
        "steps": max(len(reports) - 1, 0),
        "completions": store.attempts_made(),
        "merged": store.merged(),
        "active_s": reports[-1].finished_s if reports else 0.0,
        "outcomes": {str(outcome): count for outcome, count in sorted(store.outcome_counts().items())},
        "quarantined": sum(not confirmation.confirmed for confirmation in store.confirmations()),
        "best_programs": best_view(store, direction, limit),
        "best_against_time": [list(point) for point in best_curve(reports, direction)],
    }


def best_view(store: RunStore, direction: Direction, limit: int) -> list[ProgramView]:
    """Return the best programs, best first."""
    confirmed = {confirmation.program_id: confirmation.confirmed for confirmation in store.confirmations()}
    return [_program(program, confirmed.get(program.id)) for program in store.best_programs(limit, direction)]


def _program(program: Program, confirmed: bool | None) -> ProgramView:
    return {
        "program": program.id,
        "step": program.step,
        "parent": program.parent_id,
        "score": program.score,
        "confirmed": confirmed,
    }


def attempt_view(store: RunStore, number: int) -> AttemptView:
    """Return an attempt and the program it made.

    Raises:
        NotFoundError: The run has no such attempt.
    """
    attempt = store.attempt(number)
    parent = None if attempt.is_root else store.program(attempt.draw.parent_id)
    confirmations = {confirmation.program_id: confirmation for confirmation in store.confirmations()}
    lineage = [] if attempt.source is None else store.lineage(attempt.id)
    checks = {number: confirmation.confirmed for number, confirmation in confirmations.items()}
    check = confirmations.get(attempt.id)
    return {
        "program": attempt.id,
        "step": attempt.step,
        "outcome": str(attempt.outcome),
        "score": attempt.score,
        "reward": attempt.reward,
        "known_as": attempt.known_as,
        "feedback": attempt.feedback,
        "parent": None if parent is None else parent.id,
        "inspirations": list(attempt.draw.inspiration_ids),
        "island": attempt.draw.island,
        "lineage": [_program(program, checks.get(program.id)) for program in lineage],
        "source": attempt.source,
        "diff": "" if attempt.source is None else _diff(parent, attempt.id, attempt.source),
        "prompt": [{"role": message.role, "content": message.content} for message in attempt.prompt],
        "reply": attempt.completion.text,
        "tokens": attempt.completion.tokens,
        "evaluations": [_evaluation(evaluation) for evaluation in attempt.evaluations],
        "confirmation": None if check is None else _confirmation(check, attempt.score),
    }


def _evaluation(evaluation: Evaluation) -> EvaluationView:
    return {
        "seed": evaluation.seed,
        "outcome": str(evaluation.outcome),
        "score": evaluation.score,
        "exact": evaluation.exact,
        "measures": dict(evaluation.measures),
        "wall_s": evaluation.wall_s,
        "cpu_s": evaluation.cpu_s,
        "peak_memory_mib": evaluation.peak_memory_mib,
        "peak_processes": evaluation.peak_processes,
        "construction": None if evaluation.construction is None else json.loads(evaluation.construction),
    }


def lineage_view(store: RunStore, program_id: int, direction: Direction) -> LineageView:
    """Return the lineage of a program, the oldest first, with the diff of each step."""
    lineage = store.lineage(program_id)
    steps = [
        _step_of_lineage(parent, program, direction)
        for parent, program in zip([None, *lineage[:-1]], lineage, strict=True)
    ]
    return {"program": program_id, "lineage": steps}


def _step_of_lineage(parent: Program | None, program: Program, direction: Direction) -> StepOfLineage:
    scores = (program.score, None if parent is None else parent.score)
    return {
        "program": program.id,
        "step": program.step,
        "parent": program.parent_id,
        "outcome": str(program.outcome),
        "score": program.score,
        "better_by": None if scores[0] is None or scores[1] is None else direction.gain(scores[0], scores[1]),
        "diff": _diff(parent, program.id, program.source),
    }


def _diff(parent: Program | None, program_id: int, source: str) -> str:
    old = [] if parent is None else parent.source.splitlines()
    names = ("" if parent is None else f"program {parent.id}", f"program {program_id}")
    return "\n".join(difflib.unified_diff(old, source.splitlines(), *names, lineterm=""))


def outcomes_view(store: RunStore) -> OutcomesView:
    """Return how the completions ended and what the identity check saved."""
    counts = store.outcome_counts()
    made = sum(counts.values())
    programs, distinct = store.evaluated()
    unchanged, duplicate = counts.get(Outcome.UNCHANGED, 0), counts.get(Outcome.DUPLICATE, 0)
    total = unchanged + duplicate + programs - distinct
    return {
        "completions": made,
        "outcomes": [
            {"outcome": str(outcome), "count": count, "share": count / made}
            for outcome, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        ],
        "evaluated": distinct,
        "avoided": {
            "unchanged": unchanged,
            "duplicate": duplicate,
            "shared": programs - distinct,
            "total": total,
            "share": total / (total + distinct) if total else 0.0,
        },
    }


def moves_view(store: RunStore, problem: Problem) -> list[MoveView]:
    """Return what came of each of the problem's moves, the one that improved the most first."""
    tallies: defaultdict[str | None, list[PromptTally]] = defaultdict(list)
    for tally in store.prompt_tallies(problem.direction):
        tallies[_move_of(tally, problem.moves)].append(tally)
    rows: list[MoveView] = []
    for move, of_move in tallies.items():
        completions = sum(tally.completions for tally in of_move)
        scores = [tally.best for tally in of_move if tally.best is not None]
        rows.append(
            {
                "move": move,
                "completions": completions,
                "valid": sum(tally.valid for tally in of_move) / completions,
                "improved": sum(tally.improved for tally in of_move) / completions,
                "best": max(scores, key=problem.direction.rank, default=None),
            }
        )
    return sorted(rows, key=lambda row: (-row["improved"], -_rank(row["best"], problem.direction)))


def _move_of(tally: PromptTally, moves: Sequence[str]) -> str | None:
    """Return the move that a prompt shows: it stands behind all programs, which could quote one."""
    text = tally.messages[-1].content
    places = {move: text.rfind(move.strip()) for move in moves}
    shown = [move for move in moves if places[move] >= 0]
    return max(shown, key=lambda move: places[move] + len(move), default=None)


def islands_view(store: RunStore, direction: Direction) -> list[IslandView]:
    """Return what lives on each island."""
    scores = {member.id: member.score for member in store.members()}
    elites: defaultdict[int, int] = defaultdict(int)
    for cell in _holders(store):
        elites[cell.island] += 1
    islands: dict[int, IslandView] = {}
    for membership in store.memberships():
        fresh = IslandView(
            island=membership.island,
            programs=0,
            born=0,
            migrants=0,
            elites=elites[membership.island],
            newest=0,
            best=None,
            score=None,
        )
        island = islands.setdefault(membership.island, fresh)
        island["programs"] += 1
        island["migrants" if membership.migrant else "born"] += 1
        island["newest"] = max(island["newest"], membership.step)
        score, best = scores[membership.program_id], island["score"]
        if score is not None and (best is None or direction.gain(score, best) > 0):
            island["best"], island["score"] = membership.program_id, score
    return [islands[number] for number in sorted(islands)]


def archive_view(store: RunStore, direction: Direction) -> list[CellView]:
    """Return the cells of each island's newest grid with their holders; none where the selection keeps no archive."""
    members = {member.id: member for member in store.members()}
    cells: list[CellView] = [
        {
            "island": cell.island,
            "grid": cell.grid,
            "cell": list(cell.cell),
            "program": cell.program_id,
            "score": members[cell.program_id].score,
            "length": members[cell.program_id].length,
            "measures": dict(members[cell.program_id].measures),
            "step": cell.step,
        }
        for cell in _holders(store)
    ]
    return sorted(cells, key=lambda cell: (cell["island"], -_rank(cell["score"], direction), cell["program"]))


def _rank(score: float | None, direction: Direction) -> float:
    return float("-inf") if score is None else direction.rank(score)


def _holders(store: RunStore) -> list[ArchiveCell]:
    """Return the newest entry of each cell in the newest grid of its island."""
    newest: dict[int, int] = {}
    holders: dict[tuple[int, int, tuple[int, ...]], ArchiveCell] = {}
    for cell in store.archive_cells():
        newest[cell.island] = max(newest.get(cell.island, 0), cell.grid)
        holders[cell.island, cell.grid, cell.cell] = cell
    return [cell for cell in holders.values() if cell.grid == newest[cell.island]]


def confirmations_view(store: RunStore) -> list[ConfirmationView]:
    """Return what the checks of new bests found."""
    return [
        _confirmation(confirmation, store.program(confirmation.program_id).score)
        for confirmation in store.confirmations()
    ]


def _confirmation(confirmation: Confirmation, score: float | None) -> ConfirmationView:
    return {
        "program": confirmation.program_id,
        "confirmed": confirmation.confirmed,
        "origin": str(confirmation.origin),
        "reason": confirmation.reason,
        "score": score,
        "scores": [evaluation.score for evaluation in confirmation.evaluations],
    }


def trainings_view(store: RunStore) -> list[TrainingView]:
    """Return what the learner did after each step."""
    return [{"step": training.step, "values": dict(training.values)} for training in store.trainings()]


def steps_view(store: RunStore) -> list[StepView]:
    """Return the reports of the finished steps."""
    return [
        {
            "step": report.step,
            "attempts": report.attempts,
            "outcomes": {str(outcome): count for outcome, count in sorted(report.outcomes.items())},
            "best": report.best,
            "improved": report.improved,
            "tokens": report.tokens,
            "prompt_tokens": report.prompt_tokens,
            "generate_s": report.generate_s,
            "tail_s": report.tail_s,
            "database_s": report.database_s,
            "stragglers": report.stragglers,
            "finished_s": report.finished_s,
        }
        for report in store.reports()
    ]
