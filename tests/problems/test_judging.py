"""What a verifier says is checked before it is believed: bounds, measures, records, hooks."""

import shutil
from fractions import Fraction
from pathlib import Path

import pytest
import yaml
from support import TRIVIAL

from evolve.errors import ProblemError
from evolve.evaluate import Evaluator
from evolve.types import Bound, Direction, Outcome, Record
from problems import load_problem, load_reader, load_verifier
from problems.judging import beyond, gain_over
from sandbox import Tier, open_sandbox

VERIFIER = """from evolve.types import Verdict


def verify(construction):
    return Verdict(valid=True, score={score}, exact={exact}, measures={measures})
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the trivial problem; more is better."""
    copy = tmp_path / "mine"
    shutil.copytree(TRIVIAL, copy)
    return copy


def change(folder: Path, **fields: object) -> None:
    """Set keys of problem.yaml."""
    file = folder / "problem.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **fields}))


def says(folder: Path, *, score: str = "1.0", exact: str = "None", measures: str = "{}"):
    """Return the verdict of a verifier that says this of everything."""
    (folder / "verify.py").write_text(VERIFIER.format(score=score, exact=exact, measures=measures))
    return load_verifier(load_problem("trivial", folder)).verify(5)


def test_a_score_beyond_a_proven_bound_is_refused_exactly(folder):
    """At the bound is fine, a 10^-30 beyond it is not, though both are one float64; the source is named."""
    change(folder, bound={"exact": "0.25", "source": "Euler 1750"})

    assert load_problem("trivial", folder).bound == Bound(exact="0.25", source="Euler 1750")
    assert says(folder, score="0.25", exact="'0.25'").valid
    assert says(folder, score="0.25").valid
    over = says(folder, score="0.25", exact=f"'0.25{'0' * 28}1'")
    assert (over.valid, over.score) == (False, None)
    assert over.reason == f"impossible: 0.25{'0' * 28}1 is beyond 0.25, by Euler 1750"
    assert not says(folder, score="0.2500001").valid


def test_which_side_a_bound_is_on_follows_the_direction(folder):
    """Where less is better, less than the bound is impossible; a fraction is a bound too."""
    change(folder, direction="min", bound={"exact": "1/3", "source": "x"}, reward=reward(worst=9.0, best=1.0))

    assert says(folder, score="0.5", exact="'0.5'").valid
    assert not says(folder, score="0.333", exact="'0.333'").valid
    assert beyond(Fraction(1, 4), Fraction(1, 3), Direction.MIN)


THIRD = "0." + "3" * 30  #: As `decimal_digits` writes it.


@pytest.mark.parametrize(
    ("direction", "bound", "meets", "passes"),
    [
        ("min", "1/3", {"exact": repr(THIRD)}, {"exact": repr(THIRD[:-1] + "2")}),
        ("max", "-1/3", {"exact": repr("-" + THIRD)}, {"exact": repr("-" + THIRD[:-1] + "2")}),
        ("min", "1/3", {"exact": "'1/3'"}, {"exact": "'33/100'"}),
        ("max", "0.1", {"score": "0.1"}, {"score": "0.10000000000000002"}),  # the first float is more than a tenth
        ("min", "1/3", {"score": "1 / 3"}, {"score": "0.33333333333333326"}),
    ],
)
def test_a_score_that_meets_the_bound_is_not_beyond_it(folder, direction, bound, meets, passes):
    """However it was rounded when it was written; one unit more in the last digit, or in the float, is impossible."""
    change(folder, direction=direction, bound={"exact": bound, "source": "x"}, reward=reward(worst=9.0, best=1.0))
    if direction == "max":
        change(folder, reward=reward(worst=-9.0, best=1.0))

    assert says(folder, **meets).valid
    assert not says(folder, **passes).valid


def reward(*, worst: float, best: float) -> dict[str, object]:
    """Return a reward section."""
    return {"mode": "raw", "worst": worst, "best": best, "alpha": 1.0, "k": 1.0}


def test_measures_are_those_that_are_declared(folder):
    """Finite floats under exactly the declared names; the process boundary keeps them."""
    change(folder, measures=["spread", "steps"])

    assert says(folder, measures="{'spread': 0.5, 'steps': 3.0}").measures == {"spread": 0.5, "steps": 3.0}
    for wrong in ("{}", "{'spread': 0.5}", "{'spread': 0.5, 'steps': 3.0, 'more': 1.0}"):
        with pytest.raises(ProblemError, match=r"must give the measures .* declares: spread, steps; got"):
            says(folder, measures=wrong)
    for wrong in ("3", "True", "float('nan')", "float('inf')", "'3'"):
        with pytest.raises(ProblemError, match="measure steps must be a finite float"):
            says(folder, measures=f"{{'spread': 0.5, 'steps': {wrong}}}")

    says(folder, measures="{'spread': 0.5, 'steps': 3.0}")
    problem = load_problem("trivial", folder)
    with open_sandbox(require=Tier.NONE) as sandbox, Evaluator(problem, sandbox, workers=1) as evaluator:
        evaluation = evaluator.evaluate("def answer():\n    return 5\n", seed=0)
        assert evaluation.measures == {"spread": 0.5, "steps": 3.0}
        assert evaluator.verify("5").measures == {"spread": 0.5, "steps": 3.0}


@pytest.mark.parametrize("bound", [None, {"exact": "2", "source": "x"}])
def test_exact_is_a_decimal_text_or_nothing(bound, folder):
    """Else nobody could compare it, with a bound or with a record: the verifier's file is named, whoever asks."""
    if bound is not None:
        change(folder, bound=bound)

    for good in ("None", "'1'", "'1.000'", "'1/1'"):
        assert says(folder, exact=good).valid
    for wrong in ("'one'", "''", "'nan'", "'inf'", "'1/0'", "1.0", "True", "'1e400'"):
        with pytest.raises(ProblemError, match=r"verify\.py: exact must be a decimal text, got ") as caught:
            says(folder, exact=wrong)
        assert "\n" not in str(caught.value)


def test_measures_that_nobody_declared_are_a_fault_of_the_verifier(folder):
    """It is told, and the program that was judged is not blamed: its evaluation is lost."""
    with pytest.raises(ProblemError, match="declares: none; got width"):
        says(folder, measures="{'width': 1.0}")
    problem = load_problem("trivial", folder)
    with open_sandbox(require=Tier.NONE) as sandbox, Evaluator(problem, sandbox, workers=1) as evaluator:
        evaluation = evaluator.evaluate("def answer():\n    return 5\n", seed=0)
    assert evaluation.outcome is Outcome.LOST
    assert "declares: none; got width" in evaluation.feedback


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"measures": "width"}, "measures must be a list"),
        ({"measures": ["a b"]}, "measures must be a list of different names"),
        ({"measures": ["a", "a"]}, "measures must be a list of different names"),
        ({"bound": 3}, "bound must be a mapping"),
        ({"bound": {"exact": "1"}}, "key bound.source is missing"),
        ({"bound": {"exact": 1.5, "source": "x"}}, "bound.exact must be a text"),
        ({"bound": {"exact": "a third", "source": "x"}}, "bound.exact must be a decimal number, or a fraction"),
        ({"bound": {"exact": "1/0", "source": "x"}}, "bound.exact must be a decimal number, or a fraction"),
        ({"bound": {"exact": "1", "source": "x", "y": 1}}, "unknown key bound.y"),
    ],
)
def test_a_wrong_measure_or_bound_is_named(fields, message, folder):
    """In one line, with its key."""
    change(folder, **fields)
    with pytest.raises(ProblemError, match=message):
        load_problem("trivial", folder)


RECORD = {"score": 0.5, "holder": "me", "date": "2026", "source": "here", "exactly_valid": True}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"source": ""}, "records.0.source must be a text"),
        ({"exact": "0.51"}, r"records.0: score 0.5 and exact 0.51 differ"),
        ({"exact": "a half"}, "records.0.exact must be a decimal number"),
        ({"score": 0.75}, "the record 0.75 of me is beyond the bound 0.7: set its exactly_valid to false"),
    ],
)
def test_a_record_that_cannot_be_so_is_refused(record, message, folder):
    """Without a source, with two scores that differ, or feasible beyond what is proven."""
    change(folder, bound={"exact": "0.7", "source": "x"}, records=[{**RECORD, **record}])
    with pytest.raises(ProblemError, match=message):
        load_problem("trivial", folder)


def test_a_record_may_have_a_note(folder):
    """It is for people; one that is not feasible may lie beyond the bound."""
    change(
        folder,
        bound={"exact": "0.7", "source": "x"},
        records=[{**RECORD, "note": "by hand"}, {**RECORD, "score": 0.9, "exactly_valid": False}],
    )

    assert [record.note for record in load_problem("trivial", folder).records] == ["", "by hand"]


def test_near_ties_are_decided_by_all_digits():
    """A gain of 10^-20 over a record known to 20 digits is one; over one known as a float64 it is none."""
    known = Record(score=0.1, exact="0.1", holder="", date="", source="", exactly_valid=True)
    rounded = Record(score=0.1, holder="", date="", source="", exactly_valid=True)

    assert gain_over(known, "0.10000000000000000001", Direction.MAX) == Fraction(1, 10**20)
    assert gain_over(known, "0.10000000000000000001", Direction.MIN) == Fraction(-1, 10**20)
    assert gain_over(rounded, "0.10000000000000000001", Direction.MAX) == 0
    assert gain_over(rounded, "0.35", Direction.MAX) == Fraction(1, 4)


def test_a_folder_may_read_what_others_publish(folder):
    """read.py is optional, and must define construction()."""
    problem = load_problem("trivial", folder)
    assert load_reader(problem) is None

    (folder / "read.py").write_text("def construction(published):\n    return published['n']\n")
    reader = load_reader(problem)
    assert reader is not None
    assert reader({"n": 4}) == 4

    (folder / "read.py").write_text("x = 1\n")
    with pytest.raises(ProblemError, match=r"must define construction\(\): a read.py needs it"):
        load_reader(problem)


def test_a_valid_verdict_always_carries_its_construction(folder):
    """Where verify.py returns none, it is what was given."""
    assert says(folder).construction == 5
