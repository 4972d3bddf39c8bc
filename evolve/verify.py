"""The command `evolve verify`: what is a construction worth, at zero tolerance?"""

import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from rich.console import Console

from evolve.compose import open_workshop
from evolve.errors import InputError
from evolve.types import Outcome, Problem, ProblemKind, Verdict
from evolve.words import named_words, output_format
from problems import load_problem, load_verifier


def verify(words: Sequence[str], console: Console) -> int:
    """`evolve verify`: print the verdict on a construction in a file; exit code 0 valid, 1 invalid."""
    named, _ = named_words(words, required=("problem", "file"), optional=("format", "problem.path", "sandbox.require"))
    as_json = output_format(named) == "json"
    path = named.get("problem.path")
    problem = load_problem(named["problem"], None if path is None else Path(path).expanduser().resolve())
    file = Path(named["file"]).expanduser()
    if problem.kind is ProblemKind.RULE:
        verdict = _play(problem, _program(file), require=named.get("sandbox.require", "lite"))
    else:
        verdict = load_verifier(problem).verify(_construction(file))
    line = _line(problem, verdict)
    if as_json:
        console.out(json.dumps(line), highlight=False)
    else:
        _print(console, problem, verdict, line)
    return 0 if verdict.valid else 1


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read file={file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"file={file} is no UTF-8 text: it must hold a construction as JSON") from error


def _construction(file: Path) -> object:
    try:
        return json.loads(_read(file))
    except (ValueError, RecursionError) as error:
        raise InputError(f"file={file} is no JSON ({error}): it must hold a construction as JSON") from error


def _program(file: Path) -> str:
    """Return the program in `{"program": ...}`, or in a Python file."""
    if file.suffix == ".py":
        return _read(file)
    match _construction(file):
        case {"program": str() as source}:
            return source
    raise InputError(f'file={file} holds no rule: it must be {{"program": "..."}}, or a Python file')


def _play(problem: Problem, source: str, *, require: str) -> Verdict:
    """Run a rule in the sandbox and return the verdict on its play."""
    with open_workshop(problem, require=require, workers=1) as workshop:
        evaluation = workshop.evaluator.evaluate(source, seed=0)
    if evaluation.outcome is Outcome.VALID:
        return Verdict(valid=True, score=evaluation.score, exact=evaluation.exact)
    reason = evaluation.feedback.strip().splitlines()
    return Verdict(valid=False, reason=f"{evaluation.outcome.replace('_', ' ')}: {reason[-1] if reason else ''}")


def _line(problem: Problem, verdict: Verdict) -> dict[str, object]:
    record = problem.record
    beats = False
    if record is not None and verdict.exact is not None:
        # Near-ties differ in digits that a float64 does not hold.
        gain = Decimal(verdict.exact) - Decimal(record.exact or repr(record.score))
        beats = gain * int(problem.direction.rank(1.0)) > 0
    return {
        "valid": verdict.valid,
        "score": verdict.score,
        "exact": verdict.exact,
        "record": None if record is None else record.score,
        "beats_record": beats,
        "reason": verdict.reason,
        "repaired": verdict.repaired,
    }


def _print(console: Console, problem: Problem, verdict: Verdict, line: dict[str, object]) -> None:
    out = [f"{problem.title} ({problem.unit}, {problem.direction} is better)"]
    if verdict.valid:
        out.append(f"valid at zero tolerance, score {verdict.score!r}, exactly {verdict.exact}")
    else:
        out.append(f"invalid: {verdict.reason}")
    if verdict.repaired is not None:
        out.append(f"after the documented repair: {verdict.repaired!r}")
    for record in problem.records:
        note = "" if record.exactly_valid else ", not feasible at zero tolerance"
        gap = ""
        if verdict.score is not None:
            gain = problem.direction.gain(verdict.score, record.score)
            gap = f": {'better' if gain > 0 else 'worse'} by {abs(gain):.3g}" if gain else ": equal as a float64"
        out.append(f"  {record.score!r} {record.holder}, {record.date}{note}{gap}")
    if line["beats_record"]:
        out.append("this beats the best record that is feasible at zero tolerance")
    console.out("\n".join(out), highlight=False)
