"""Loading problem folders: what is read, and what is refused with which words."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from evolve.errors import ProblemError
from evolve.types import Direction, ProblemKind, Verdict
from problems import load_picture, load_problem, load_verifier, problem_names
from problems.rules import LocalRule

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of circle_packing outside the project."""
    copy = tmp_path / "elsewhere"
    shutil.copytree(load_problem("circle_packing").folder, copy)
    return copy


def rewrite(folder: Path, edit: Edit) -> None:
    """Change the folder's problem.yaml through its parsed content."""
    file = folder / "problem.yaml"
    content = yaml.safe_load(file.read_text())
    edit(content)
    file.write_text(yaml.safe_dump(content))


def test_the_built_in_problems_load_by_name() -> None:
    """Every built-in name loads, and its folder is the one of that name."""
    assert list(problem_names()) == sorted(problem_names())
    assert {"bin_packing", "circle_packing", "cap_set_8", "hexagon_packing_12"} <= set(problem_names())
    assert [load_problem(name).folder.name for name in problem_names()] == list(problem_names())


def test_the_fields_arrive_as_written() -> None:
    """Kind, direction, call and limits are those of problem.yaml."""
    circles, bins = load_problem("circle_packing"), load_problem("bin_packing")

    assert (circles.kind, circles.direction, circles.entry_point) == (ProblemKind.CONSTRUCTION, Direction.MAX, "pack")
    assert (circles.arguments, circles.limits.wall_s, circles.limits.source_chars) == ((26,), 20.0, 20000)
    assert (circles.shape.best, circles.shape.alpha, circles.shape.k) == (2.635, 3.0, 5.0)
    assert (bins.kind, bins.direction, bins.entry_point, bins.arguments) == (
        ProblemKind.RULE,
        Direction.MIN,
        "priority",
        (),
    )


def test_records_come_best_first_and_only_exactly_valid_ones_count() -> None:
    """The best claim for circles leans on a tolerance, so the record to beat is the strict certificate."""
    circles, bins = load_problem("circle_packing"), load_problem("bin_packing")

    assert [record.score for record in circles.records] == sorted((r.score for r in circles.records), reverse=True)
    assert circles.records[0].score == 2.6359856612408991
    assert circles.record is not None
    assert circles.record.exact == "2.63598308491760778318656948544"
    assert [record.score for record in bins.records] == sorted(r.score for r in bins.records)


def test_what_goes_into_every_prompt_is_short() -> None:
    """Statement, signature and seed together stay below 2.5 kB, and a move below 400 characters."""
    for problem in map(load_problem, problem_names()):
        assert len(problem.statement) + len(problem.signature) + len(problem.seed_source) < 2500
        assert max(map(len, problem.moves)) < 400


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    """The message lists what there is; a path is no name."""
    with pytest.raises(ProblemError, match=r"'circels'; there are .*bin_packing, .*circle_packing, "):
        load_problem("circels")
    with pytest.raises(ProblemError, match="no problem is called"):
        load_problem("../problems/circle_packing")


def test_a_folder_elsewhere_has_the_same_power(folder: Path, tmp_path: Path) -> None:
    """A copied folder loads, verifies with its own arguments, and draws."""
    rewrite(folder, lambda content: content.update(arguments=[1], name="one_circle"))
    problem = load_problem("one_circle", folder)
    draw = load_picture(problem)
    assert draw is not None

    verdict = load_verifier(problem).verify([[0.5, 0.5, 0.5]])
    draw(verdict.construction, tmp_path / "one.png")

    assert (verdict.valid, verdict.score, verdict.exact) == (True, 0.5, "0.5")
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")


def test_two_folders_never_share_a_verifier(folder: Path) -> None:
    """verify.py of a copy is another module than the built-in one, which still wants 26 circles."""
    rewrite(folder, lambda content: content.update(arguments=[1]))
    copy = load_verifier(load_problem("circle_packing", folder))
    original = load_verifier(load_problem("circle_packing"))

    assert copy.function.__module__ != original.function.__module__
    assert copy.verify([[0.5, 0.5, 0.5]]).valid
    assert original.verify([[0.5, 0.5, 0.5]]).reason == "expected 26 circles, got 1"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.pop("title"), "key title is missing"),
        (lambda c: c["limits"].pop("wall_s"), "key limits.wall_s is missing"),
        (lambda c: c["records"][1].pop("holder"), "key records.1.holder is missing"),
        (lambda c: c.update(tilte="x"), "unknown key tilte"),
        (lambda c: c["limits"].update(cpu_s=3), "unknown key limits.cpu_s"),
        (lambda c: c["reward"].update(beta=3), "unknown key reward.beta"),
        (lambda c: c["records"][0].update(url="x"), "unknown key records.0.url"),
        (lambda c: c.update(title=7), "title must be a text in quotes, got 7"),
        (lambda c: c.update(statement="  "), "statement must be a text"),
        (lambda c: c.update(kind="proof"), "kind must be one of construction, rule, got 'proof'"),
        (lambda c: c.update(direction=["max"]), "direction must be one of max, min"),
        (lambda c: c.update(moves="try harder"), "moves must be a list"),
        (lambda c: c.update(moves=["a", 3]), "moves.1 must be a text"),
        (lambda c: c.update(arguments=26), "arguments must be a list, got 26"),
        (lambda c: c.update(limits=[20]), "limits must be a mapping"),
        (lambda c: c.update(records=["x"]), "records.0 must be a mapping"),
        (lambda c: c["limits"].update(wall_s=0), "limits.wall_s must be a number above 0"),
        (lambda c: c["limits"].update(wall_s=True), "limits.wall_s must be a finite number, got True"),
        (lambda c: c["limits"].update(memory_mib=0.5), "limits.memory_mib must be a whole number"),
        (lambda c: c["limits"].update(source_chars=100), "seed.py has .* limits.source_chars is 100"),
        (lambda c: c["reward"].update(worst=float("nan")), "reward.worst must be a finite number"),
        (lambda c: c["reward"].update(worst=3.0), "reward.best must be better than reward.worst"),
        (lambda c: c["reward"].update(mode="log"), "reward.mode must be one of raw, shaped, improvement, better"),
        (lambda c: c["records"][0].update(exactly_valid="yes"), "records.0.exactly_valid must be true or false"),
        (lambda c: c["records"][0].update(date=2026), "records.0.date must be a text in quotes, got 2026"),
        (lambda c: c.update(kind="rule"), "arguments must be empty for a rule"),
        (lambda c: c.update(name="circles"), "but problem 'circle_packing' was asked for; write problem=circles"),
    ],
)
def test_a_wrong_key_is_named_with_its_file(folder: Path, edit: Edit, message: str) -> None:
    """Missing, unknown and ill-typed keys of problem.yaml are refused in one line that names both."""
    rewrite(folder, edit)
    with pytest.raises(ProblemError, match=message) as caught:
        load_problem("circle_packing", folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "is not valid YAML"),
        ("- a", "must be a mapping"),
        ("", "must be a mapping"),
        ("a: !!python/name:os.getcwd", "YAML"),
        pytest.param("[" * 5000, "is nested too deeply", id="deep"),
        pytest.param('{"name": ' * 5000 + "1" + "}" * 5000, "is nested too deeply", id="deep JSON"),
        pytest.param("- " * 5000 + "1", "is nested too deeply", id="deep list"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(folder: Path, text: str, message: str) -> None:
    """Broken YAML, a list, nothing, a tag that would build an object, and more levels than can be read."""
    (folder / "problem.yaml").write_text(text)
    with pytest.raises(ProblemError, match=message) as caught:
        load_problem("circle_packing", folder)
    assert "\n" not in str(caught.value)


def test_missing_files_are_named(folder: Path) -> None:
    """A folder without problem.yaml, without seed.py, and no folder at all."""
    (folder / "seed.py").unlink()
    with pytest.raises(ProblemError, match=r"seed\.py cannot be read"):
        load_problem("circle_packing", folder)
    (folder / "problem.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ProblemError, match=r"problem\.yaml cannot be read"):
        load_problem("circle_packing", folder)
    with pytest.raises(ProblemError, match="nowhere does not exist"):
        load_problem("circle_packing", folder / "nowhere")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("def pack(", "def stack(", r"must define the entry point pack\(\)"),
        ("def pack(n):", "def pack(n:", "is not valid Python: line"),
        ("# EVOLVE-BLOCK-START", "# START", "must hold one line"),
        ("# EVOLVE-BLOCK-END", "# EVOLVE-BLOCK-START", "must hold one line"),
        ("# EVOLVE-BLOCK-END", "# EVOLVE-BLOCK-END\n# EVOLVE-BLOCK-END", "must hold one line"),
    ],
)
def test_a_seed_that_cannot_be_evolved_is_refused(folder: Path, old: str, new: str, message: str) -> None:
    """No entry point, no Python, or no single pair of markers."""
    file = folder / "seed.py"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(ProblemError, match=message):
        load_problem("circle_packing", folder)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def judge(rule): pass", r"must define verify\(\): a problem of kind construction needs it"),
        ("import no_such_module", "cannot be imported: No module named"),
        ("def verify(:", "cannot be imported: invalid syntax"),
    ],
)
def test_an_unusable_verifier_is_refused(folder: Path, source: str, message: str) -> None:
    """A verify.py must import and define what the kind asks for."""
    (folder / "verify.py").write_text(source)
    with pytest.raises(ProblemError, match=message):
        load_verifier(load_problem("circle_packing", folder))


def test_a_verifier_may_use_what_a_module_may(folder: Path) -> None:
    """Dataclasses with postponed annotations look their own module up, and find it."""
    (folder / "verify.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from evolve.types import Verdict\n"
        "@dataclass\nclass Total:\n    value: float\n"
        "def verify(construction):\n"
        "    return Verdict(valid=True, score=Total(2.0).value, measures={'walls': 0.0, 'evenness': 1.0})\n"
    )
    assert load_verifier(load_problem("circle_packing", folder)).verify([]).score == 2.0


def test_a_verifier_that_returns_no_verdict_is_refused(folder: Path) -> None:
    """A score alone could hide a failure."""
    (folder / "verify.py").write_text("def verify(construction): return 3.0")
    verifier = load_verifier(load_problem("circle_packing", folder))
    with pytest.raises(ProblemError, match=r"must return an evolve\.types\.Verdict, got float"):
        verifier.verify([])


def test_each_kind_is_judged_its_own_way_only() -> None:
    """A construction cannot be played and a rule cannot be verified; both say what to give instead."""
    with pytest.raises(ProblemError, match="verifies a construction; give it that, not a rule"):
        load_verifier(load_problem("circle_packing")).judge(LocalRule(len))
    with pytest.raises(ProblemError, match="give it a program, not a construction"):
        load_verifier(load_problem("bin_packing")).verify([])


def test_a_picture_is_optional_but_must_be_usable(folder: Path) -> None:
    """No picture.py means no picture; one without draw is an error."""
    assert load_picture(load_problem("bin_packing")) is None
    (folder / "picture.py").write_text("")
    with pytest.raises(ProblemError, match=r"picture\.py must define draw\(\)"):
        load_picture(load_problem("circle_packing", folder))


def test_the_example_in_the_readme_works(tmp_path: Path) -> None:
    """Its three files, as printed, make a problem whose seed program passes with length 127."""
    readme = (load_problem("circle_packing").folder.parent / "README.md").read_text()
    for name, text in re.findall(r"^`([\w.]+)`\n```\w+\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE):
        (tmp_path / name).write_text(text)
    problem = load_problem("golomb_ruler", tmp_path)
    scope: dict[str, Any] = {}
    exec(problem.seed_source, scope)
    verify = load_verifier(problem).verify

    assert verify(scope["place"](*problem.arguments)) == Verdict(
        valid=True, score=127.0, exact="127", construction=[0, 1, 3, 7, 15, 31, 63, 127]
    )
    assert verify([0, 1, 4, 9, 15, 22, 32, 34]).score == 34.0
    assert verify([0, 1, 2, 9, 15, 22, 32, 34]).reason == "5 of 28 distances are 0 or repeat another"
    malformed: tuple[object, ...] = (None, [], [True] * 8, [[]] * 8, [0.0] * 8)
    assert [verify(construction).valid for construction in malformed] == [False] * 5
