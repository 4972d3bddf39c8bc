"""What holds for every problem: its folder loads, its seed runs, and nothing trips its verifier up or fools it."""

import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evolve.evaluate import Evaluator
from evolve.garbage import garbage, mutants
from evolve.types import Outcome, ProblemKind, Verdict
from problems import load_picture, load_problem, load_reader, load_verifier, problem_names
from problems.formats import plain
from sandbox import Tier, open_sandbox

PROBLEMS = {name: load_problem(name) for name in problem_names()}
CONSTRUCTIONS = [name for name, problem in PROBLEMS.items() if problem.kind is ProblemKind.CONSTRUCTION]

#: Leaves that JSON, or Python's reading of it, can give; the rare ones often.
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-3, max_value=30),
    st.integers(min_value=-(10**400), max_value=10**400),
    st.floats(),
    st.floats(min_value=0.0, max_value=1.0),
    st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 5e-324, 1e308, 2.0**-1074, 1e12, 1e13]),
    st.text(max_size=5),
    st.sampled_from(["+" * 29, "-" * 29, "00000000", "12121212", "1.5", "nan"]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=30), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=60,
)
#: Lists of the sizes that problems ask for, so that more than the length is tried.
ROWS = st.one_of(
    st.lists(st.lists(st.floats(-2, 2), min_size=3, max_size=3), min_size=26, max_size=26),
    st.lists(st.lists(st.floats(-2, 2), min_size=3, max_size=3), min_size=14, max_size=14),
    st.lists(st.lists(st.floats(), min_size=2, max_size=2), min_size=13, max_size=16),
    st.lists(st.floats(0, 1), max_size=40),
    st.lists(st.floats(), max_size=40),
    st.lists(st.integers(0, 200), max_size=40),
    st.lists(st.text(alphabet="+-", min_size=29, max_size=29), min_size=29, max_size=29),
)


@pytest.fixture(scope="module")
def verifiers():
    """The verifiers of all problems that judge constructions."""
    return {name: load_verifier(PROBLEMS[name]) for name in CONSTRUCTIONS}


@pytest.fixture(scope="module")
def judged():
    """One run of each seed program in the sandbox."""
    runs = {}
    with open_sandbox(require=Tier.NONE) as sandbox:
        for name, problem in PROBLEMS.items():
            with Evaluator(problem, sandbox, workers=1) as evaluator:
                runs[name] = evaluator.evaluate(problem.seed_source, seed=0)
    return runs


@pytest.fixture(scope="module")
def seeds(judged):
    """The constructions of the seed programs, as JSON texts."""
    return {name: evaluation.construction for name, evaluation in judged.items()}


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_seed_runs_in_the_sandbox_and_is_valid(name, judged):
    """Within half of the time limit, with an exact score that the float rounds, and worse than the record."""
    problem, run = PROBLEMS[name], judged[name]

    assert run.outcome is Outcome.VALID, run.feedback
    assert run.wall_s < problem.limits.wall_s / 2
    assert float(run.exact) == pytest.approx(run.score, rel=1e-15)
    assert problem.record is None or problem.direction.gain(run.score, problem.record.score) < 0
    assert set(run.measures) == set(problem.measures)


@pytest.mark.parametrize("name", PROBLEMS)
def test_records_carry_what_a_reader_needs(name):
    """There is something to compare with, and each entry has a holder, a date and a source."""
    problem = PROBLEMS[name]

    assert problem.records
    assert all(record.holder and record.date and record.source for record in problem.records)


@pytest.mark.parametrize("name", PROBLEMS)
def test_records_have_no_more_digits_than_scores(name, judged):
    """Else the very packing of a record would seem to be worse than it, or better where less is better."""
    run = judged[name]
    most = max(30, sum(map(str.isdigit, (run.exact or "").lstrip("-0."))))
    records = [record.exact for record in PROBLEMS[name].records if record.exact is not None]

    assert all(sum(map(str.isdigit, exact.lstrip("-0."))) <= most for exact in records)


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_what_a_verifier_accepts_it_accepts_again(name, verifiers, seeds):
    """The verdict on the verdict's own construction is the same, through JSON and in whatever wrapping it comes."""
    verify, construction = verifiers[name].verify, json.loads(seeds[name])
    reader = load_reader(PROBLEMS[name]) or plain

    first = verify(construction)
    again = verify(json.loads(json.dumps(first.construction)))

    assert first.valid
    assert again == first
    assert verify(reader(json.loads(json.dumps(first.construction)))) == first


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_garbage_is_refused_and_trips_nothing(name, verifiers):
    """Wrong types, NaN, infinity, ragged, nested and claimed values; the reason is one line."""
    for piece in garbage():
        verdict = verifiers[name].verify(json.loads(piece.text))
        assert not (piece.invalid and verdict.valid), piece.name
        assert verdict.valid or (verdict.reason and "\n" not in verdict.reason), piece.name


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_a_list_of_ten_million_numbers_is_refused_by_its_length(name, verifiers):
    """No message repeats it, whatever its entries are."""
    for entry in (0, [0.5, 0.5, 0.1], "+"):
        verdict = verifiers[name].verify([entry] * 10**7)

        assert not verdict.valid
        assert len(verdict.reason) < 300


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_mutated_seeds_are_refused_or_judged_but_never_trip(name, verifiers, seeds):
    """One number made NaN, infinite, a bool or a text makes it invalid; extreme numbers and lost entries do no harm."""
    for piece in mutants(seeds[name]):
        verdict = verifiers[name].verify(json.loads(piece.text))
        assert isinstance(verdict, Verdict)
        assert not (piece.invalid and verdict.valid), piece.name
        if not verdict.valid:
            assert all(isinstance(line, str) for line in verifiers[name].violations(json.loads(piece.text)))


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_nothing_trips_a_verifier(name, verifiers):
    """Whatever JSON holds, the answer is a verdict; one that is valid has a finite score and holds no odd number."""
    verifier = verifiers[name]

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(VALUES, ROWS))
    def judge(value):
        verdict = verifier.verify(value)
        if verdict.valid:
            assert math.isfinite(verdict.score)
            assert not any(isinstance(leaf, bool | None) or not math.isfinite(leaf) for leaf in numbers(value))
        else:
            verifier.violations(value)

    judge()


def numbers(value):
    """Yield the leaves of nested lists and mappings that are no texts."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            yield from numbers(entry)
    elif not isinstance(value, str):
        yield value


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_the_picture_of_the_seed_is_drawn(name, seeds, tmp_path):
    """Where a problem draws, its seed's construction gives a PNG."""
    draw = load_picture(PROBLEMS[name])
    if draw is not None:
        draw(json.loads(seeds[name]), tmp_path / "seed.png")
        assert (tmp_path / "seed.png").read_bytes().startswith(b"\x89PNG")
