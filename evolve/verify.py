"""The command `evolve verify`: what is a construction worth, at zero tolerance?"""

import json
import secrets
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from rich.console import Console

from evolve.compose import open_workshop
from evolve.config.checks import one_of
from evolve.confirm import fault_on_unseen
from evolve.errors import ConfigError, InputError, ProblemError
from evolve.types import Outcome, Problem, ProblemKind, Record, Verdict
from evolve.verifier import Judgement, JudgementKind, VerifierError, VerifierProcess
from evolve.words import named_words, output_format, path_of
from problems import load_problem, load_reader, openevolve, problem_names, verifier_file
from problems.formats import plain, read_file
from problems.judging import gain_over
from sandbox import Tier

#: Exact verification takes milliseconds; one that takes this long has failed, in seconds.
_VERIFY_S = 600.0


def verify(words: Sequence[str], console: Console) -> int:
    """`evolve verify`: print the verdict on what a file holds; exit code 0 valid, 1 invalid.

    A Python file, or a rule in JSON, is run in the sandbox; all else is a construction, ours or as others publish it.
    """
    named, _ = named_words(words, required=("file",), optional=("problem", "problem.path", "format", "sandbox.require"))
    as_json = output_format(named) == "json"
    one_of("sandbox.require", named.get("sandbox.require", "lite"), Tier)
    problem = _problem(named)
    file = path_of("file", named["file"])
    if problem.kind is ProblemKind.RULE or file.suffix == ".py":
        judgement = _play(problem, _program(file), require=named.get("sandbox.require", "lite"))
    else:
        judgement = _judge(problem, _construction(problem, file))
    verdict = judgement.verdict or Verdict(valid=False, reason=judgement.reason)
    line = _line(problem, verdict, judgement.violations)
    if as_json:
        console.out(json.dumps(line), highlight=False)
    else:
        _print(console, problem, verdict, judgement.violations)
    return 0 if verdict.valid else 1


def _problem(named: Mapping[str, str]) -> Problem:
    """Return the problem that the words name; one of your own may be named by its folder alone, as in `evolve run`."""
    path = named.get("problem.path")
    if path is not None:
        folder = path_of("problem.path", path).resolve()
        return load_problem(named.get("problem", folder.name), folder)
    if "problem" not in named:
        names = ", ".join(problem_names())
        raise ConfigError(f"no problem is named: add problem=NAME (one of {names}), or problem.path=DIR for your own")
    return load_problem(named["problem"])


def _read(file: Path) -> object:
    try:
        return read_file(file)
    except OSError as error:
        raise InputError(f"cannot read file={file}: {error.strerror}") from error
    except ValueError as error:
        words = " ".join(str(error).split())
        raise InputError(f"file={file} cannot be used ({words}): it must hold a construction") from error


def _construction(problem: Problem, file: Path) -> str:
    """Return what the file holds in the form that the problem's verifier judges, as JSON text."""
    published = _read(file)
    reader = load_reader(problem)
    try:
        return json.dumps(plain(published) if reader is None else reader(published))
    except ValueError as error:
        raise InputError(f"file={file} holds no construction of {problem.name}: {error}") from error


def _program(file: Path) -> str:
    """Return the program in `{"program": ...}`, or in a Python file."""
    if file.suffix == ".py":
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read file={file}: {error}") from error
    match _read(file):
        case {"program": str() as source}:
            return source
    raise InputError(f'file={file} holds no rule: it must be {{"program": "..."}}, or a Python file')


def _judge(problem: Problem, construction: str) -> Judgement:
    """Have a construction judged in the verifier's process."""
    with VerifierProcess(problem) as verifier:
        try:
            return verifier.verify(construction, timeout_s=_VERIFY_S)
        except VerifierError as error:
            raise ProblemError(f"{error}; mend {verifier_file(problem)}") from error


def _play(problem: Problem, source: str, *, require: str) -> Judgement:
    """Run a program in the sandbox and return the verdict on what it does."""
    with open_workshop(problem, require=require, workers=1) as workshop:
        evaluation = workshop.evaluator.evaluate(source, seed=0)
        fault = ""
        if evaluation.score is not None:
            unseen = secrets.randbits(62)
            fault = fault_on_unseen(workshop.evaluator, source, evaluation.score, seed=0, unseen=unseen)
    if fault:
        verdict = Verdict(valid=False, reason=fault)
    elif evaluation.outcome is Outcome.VALID:
        verdict = Verdict(valid=True, score=evaluation.score, exact=evaluation.exact, measures=evaluation.measures)
    else:
        reason = evaluation.feedback.strip().splitlines()
        words = f"{evaluation.outcome.replace('_', ' ')}: {reason[-1] if reason else ''}"
        verdict = Verdict(valid=False, reason=words)
    return Judgement(kind=JudgementKind.VERDICT, verdict=verdict)


def _exact(verdict: Verdict) -> str:
    return verdict.exact or repr(verdict.score)


def _line(problem: Problem, verdict: Verdict, violations: Sequence[str]) -> dict[str, object]:
    record = problem.record
    beats = verdict.valid and record is not None and gain_over(record, _exact(verdict), problem.direction) > 0
    return {
        "valid": verdict.valid,
        "score": verdict.score,
        "exact": verdict.exact,
        "record": None if record is None else record.score,
        "beats_record": beats,
        "reason": verdict.reason,
        "repaired": verdict.repaired,
        "violations": list(violations),
        "measures": dict(verdict.measures),
        "records": [_record_line(problem, record, verdict) for record in problem.records],
    }


def _record_line(problem: Problem, record: Record, verdict: Verdict) -> dict[str, object]:
    gain = gain_over(record, _exact(verdict), problem.direction) if verdict.valid else None
    return {
        "score": record.score,
        "exact": record.exact,
        "holder": record.holder,
        "date": record.date,
        "source": record.source,
        "exactly_valid": record.exactly_valid,
        "note": record.note,
        "better_by": None if gain is None else float(gain),
    }


def _print(console: Console, problem: Problem, verdict: Verdict, violations: Sequence[str]) -> None:
    out = [f"{problem.title} ({problem.unit}, {problem.direction} is better)"]
    if verdict.valid:
        if problem.harness is None:
            out.append(f"valid at zero tolerance, score {verdict.score!r}, exactly {_exact(verdict)}")
        else:
            out.append(f"valid, score {verdict.score!r}, {openevolve.UNPROVED}")
        out += [f"  {name} {value!r}" for name, value in verdict.measures.items()]
    else:
        out.append(f"invalid: {verdict.reason}")
        out += [f"  {violation}" for violation in violations]
    if verdict.repaired is not None:
        out.append(f"after the documented repair: {verdict.repaired!r}")
    for record in problem.records:
        note = "" if record.exactly_valid else ", not shown to be feasible here at zero tolerance"
        note += f" ({record.note})" if record.note else ""
        gap = _gap(gain_over(record, _exact(verdict), problem.direction)) if verdict.valid else ""
        out.append(f"  {record.score!r} {record.holder}, {record.date}{note}{gap}")
    if _line(problem, verdict, ())["beats_record"]:
        out.append("this beats the best record that is feasible at zero tolerance")
    console.out("\n".join(out), highlight=False)


def _gap(gain: Fraction) -> str:
    if gain == 0:
        return ": equal, as far as it is known"
    return f": {'better' if gain > 0 else 'worse'} by {float(abs(gain)):.3g}"
