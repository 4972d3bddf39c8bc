"""A problem's verify.py as everybody else sees it: what it says is checked before it is believed."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from evolve.errors import ProblemError
from evolve.types import Direction, Problem, ProblemKind, Record, Verdict
from problems.exact import DIGITS, decimal_digits
from problems.rules import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """What a problem's verify.py defines; it runs with our rights, never in the candidate's process.

    Attributes:
        source: The verify.py.
        problem: Whose verifier it is; its bound and the names of its measures are enforced.
        function: Its `verify(construction)` or `judge(rule)`.
        listing: Its `violations(construction)`, where it defines one: a line for each violation, the worst first.
        unseen: Its `judge_unseen(rule, seed)`, where it defines one: a verdict on instances that the seed draws, whose
            score is the best that a rule can be expected to have on the problem's own, luck included.
    """

    source: Path
    problem: Problem
    function: Callable[..., object]
    listing: Callable[[object], Sequence[str]] | None = None
    unseen: Callable[[Rule, int], object] | None = None

    def verify(self, construction: object) -> Verdict:
        """Judge a construction of plain JSON values, at zero tolerance.

        A valid verdict carries a construction: the one that was given where verify.py returns none.

        Raises:
            ProblemError: The problem judges rules, or its verifier returned no usable verdict.
        """
        if self.problem.kind is not ProblemKind.CONSTRUCTION:
            raise ProblemError(f"{self.source} judges a rule by playing it; give it a program, not a construction")
        verdict = self._verdict(self.function(construction))
        if verdict.valid and verdict.construction is None:
            return replace(verdict, construction=construction)
        return verdict

    def judge(self, rule: Rule) -> Verdict:
        """Play a rule on the problem's instances; what the rule raises passes through.

        Raises:
            ProblemError: The problem judges constructions, or its verifier returned no usable verdict.
        """
        if self.problem.kind is not ProblemKind.RULE:
            raise ProblemError(f"{self.source} verifies a construction; give it that, not a rule")
        return self._verdict(self.function(rule))

    def judge_unseen(self, rule: Rule, seed: int) -> Verdict:
        """Play a rule on instances that nobody has seen.

        Raises:
            ProblemError: The verifier knows none, or returned no usable verdict.
        """
        if self.unseen is None:
            raise ProblemError(f"{self.source} does not define judge_unseen")
        return self._verdict(self.unseen(rule, seed))

    def violations(self, construction: object) -> tuple[str, ...]:
        """Return a line for each violation of a construction that is invalid, the worst first; empty where unknown."""
        return () if self.listing is None else tuple(map(str, self.listing(construction)))

    def _verdict(self, verdict: object) -> Verdict:
        if not isinstance(verdict, Verdict):
            raise ProblemError(f"{self.source} must return an evolve.types.Verdict, got {type(verdict).__name__}")
        if verdict.score is None:
            return verdict
        self._check_measures(verdict)
        self._check_exact(verdict)
        bound = self.problem.bound
        if bound is not None and self._is_beyond(verdict, Fraction(bound.exact)):
            score = verdict.exact or repr(verdict.score)
            return Verdict(valid=False, reason=f"impossible: {score} is beyond {bound.exact}, by {bound.source}")
        return verdict

    def _check_measures(self, verdict: Verdict) -> None:
        declared = ", ".join(self.problem.measures) or "none"
        if set(verdict.measures) != set(self.problem.measures):
            found = ", ".join(verdict.measures) or "none"
            raise ProblemError(
                f"{self.source} must give the measures that problem.yaml declares: {declared}; got {found}"
            )
        for name, value in verdict.measures.items():
            if type(value) is not float or not math.isfinite(value):
                raise ProblemError(f"{self.source}: measure {name} must be a finite float, got {value!r}")

    def _check_exact(self, verdict: Verdict) -> None:
        """Refuse digits that could not be compared, with a bound or with a record."""
        exact: object = verdict.exact
        if exact is None:
            return
        try:
            comparable = isinstance(exact, str) and math.isfinite(Fraction(exact))
        except (ValueError, ZeroDivisionError, OverflowError):
            comparable = False
        if not comparable:
            raise ProblemError(f"{self.source}: exact must be a decimal text, got {exact!r:.100}")

    def _is_beyond(self, verdict: Verdict, bound: Fraction) -> bool:
        """Return whether a valid score is beyond a bound for certain, however its text or its float was rounded."""
        direction = self.problem.direction
        if verdict.exact is None:  # both are rounded alike, so what meets the bound does not pass it
            return beyond(Fraction(verdict.score or 0.0), Fraction(float(bound)), direction)
        exact = Fraction(verdict.exact)
        # A long text was cut toward zero: what meets the bound may seem to pass it, if it is minimised or negative.
        digits = sum(map(str.isdigit, verdict.exact.lstrip("-0.")))
        meets = digits >= DIGITS and exact == Fraction(decimal_digits(bound, digits))
        return beyond(exact, bound, direction) and not meets


def beyond(score: Fraction, bound: Fraction, direction: Direction) -> bool:
    """Whether a score is better than a bound that nothing can beat.

    >>> quarter = Fraction(1, 4)
    >>> beyond(quarter, quarter, Direction.MAX), beyond(Fraction(1, 5), quarter, Direction.MIN)
    (False, True)
    """
    return score > bound if direction is Direction.MAX else score < bound


def gain_over(record: Record, exact: str, direction: Direction) -> Fraction:
    """Return by how much a score, given with all its digits, is better than a record; negative when worse.

    Near-ties differ in digits that a float64 does not hold. Where no more than a float64 is known of the record, scores
    that round to it are equal to it.

    >>> record = Record(score=0.1, holder="", date="", source="", exactly_valid=True)
    >>> gain_over(record, "0.10000000000000000001", Direction.MAX), gain_over(record, "0.35", Direction.MIN)
    (Fraction(0, 1), Fraction(-1, 4))
    """
    score = Fraction(exact)
    if record.exact is None and float(score) == record.score:
        return Fraction(0)
    gain = score - Fraction(record.exact or repr(record.score))
    return gain if direction is Direction.MAX else -gain
