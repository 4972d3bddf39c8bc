"""Reads what an OpenEvolve task's evaluator says of a child. It is taken at its word, and its scores are no proofs.

The evaluator ran in the child's own process, as it does in OpenEvolve, so that a child could forge all of it.
"""

import math
import sys
from fractions import Fraction

from evolve.types import Verdict
from problems.exact import decimal_digits

#: As much of the artifacts is told the model, in characters.
LONGEST = 1800


def fitness(metrics: dict[str, object]) -> float | None:
    """Return `combined_score`, else the mean of all numbers, as OpenEvolve does; None where there is no number."""
    combined = metrics.get("combined_score")
    if type(combined) in (int, float):
        return float(combined)  # type: ignore[arg-type]
    if combined is not None:
        return None
    numbers = [float(value) for name, value in metrics.items() if name != "error" and type(value) in (int, float)]  # type: ignore[arg-type]
    return sum(numbers) / len(numbers) if numbers else None


def said(artifacts: dict[str, object]) -> str:
    r"""Return the artifacts as text, one after the other.

    >>> said({"stderr": "overlap", "hint": "shrink"})
    'stderr: overlap\\nhint: shrink'
    """
    text = _printable("\n".join(f"{name}: {value}" for name, value in artifacts.items()))
    return text if len(text) <= LONGEST else text[:LONGEST] + " ..."


def _printable(text: str) -> str:
    """Return a text of the child's without what could move a terminal's cursor or turn its line around."""
    return "".join(character for character in text if character.isprintable() or character in "\n\t")


def _is_usable(value: object) -> bool:
    """Whether a value is a text or a number that is a finite float; NaN fails every comparison."""
    return type(value) is str or (type(value) in (int, float) and abs(value) <= sys.float_info.max)  # type: ignore[arg-type]


def verify(construction: object) -> Verdict:
    """Judge `{"metrics": {name: number or text}, "artifacts": {name: number or text}}`.

    Returns:
        `combined_score` as score. An error or a time-out that the evaluator reports is no score. `reason` holds the
        artifacts, for a valid child too.
    """
    match construction:
        case {"metrics": dict(metrics), "artifacts": dict(artifacts), **rest} if not rest:
            pass
        case _:
            return Verdict(valid=False, reason='expected {"metrics": {...}, "artifacts": {...}}')
    values = [*metrics.values(), *artifacts.values()]
    if not all(map(_is_usable, values)):
        return Verdict(valid=False, reason="metrics and artifacts must be finite numbers or texts")
    remarks, error = said(artifacts), metrics.get("error")
    if isinstance(error, str) and error:
        told = f"the evaluator reports: {_printable(error[:LONGEST])}"
        return Verdict(valid=False, reason="\n".join(filter(None, [told, remarks])))
    if metrics.get("timeout"):
        return Verdict(valid=False, reason="\n".join(filter(None, ["the evaluator reports a time-out", remarks])))
    score = fitness(metrics)
    if score is None or not math.isfinite(score):
        named = _printable(", ".join(sorted(map(str, metrics)))[:LONGEST]) or "nothing"
        return Verdict(valid=False, reason=f"the evaluator gave no combined_score that is a number (it gave {named})")
    exact = decimal_digits(Fraction(score))
    return Verdict(valid=True, score=score, exact=exact, reason=remarks or None, construction=construction)
