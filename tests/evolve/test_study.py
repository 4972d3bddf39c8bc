"""Studies on paper: what a file asks for, which runs share an engine, and what the figures say."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from study_records import keep_record
from support import TRIVIAL

from evolve.config import GrpoConfig
from evolve.dashboard.arms import Against
from evolve.engine.scripted import ScriptedEngine
from evolve.errors import ConfigError
from evolve.options import parse_options
from evolve.study.booking import is_finished
from evolve.study.engines import Engines
from evolve.study.figures import ArmFigures, RunFigures, SignTest, sign_tests
from evolve.study.plan import is_machine_option, load_study
from evolve.study.record import read_record
from evolve.study.results import write_results
from evolve.types import Direction
from problems import load_problem

SHIPPED = sorted((Path(__file__).parents[2] / "configs" / "studies").glob("*.yaml"))
FILE = """
budget: {completions: 8}
seeds: [1, 2]
options: [engine=scripted, engine.file=one.jsonl, rollout.samples=2]
problems:
  trivial: {options: [problem.path=%s], target: 90}
  cap_set_6: {}
arms:
  plain: [prompt.inspirations=0]
  other: [engine.file=two.jsonl]
  large: [rollout.samples=4]
"""


def run(best: float, seed: int = 0, curve=()) -> RunFigures:
    return RunFigures(
        seed=seed, completions=8, tokens=80, best=best, exact=None, valid=0.5, improved=0.25, distinct=0.75,
        active_s=2.0, curve=curve,
    )  # fmt: skip


def arm(problem: str, name: str, runs, direction=Direction.MAX, target=None) -> ArmFigures:
    return ArmFigures(problem=problem, direction=direction, target=target, arm=name, runs=runs)


@pytest.fixture
def study_file(tmp_path):
    """A study of two problems, three arms and two seeds."""
    file = tmp_path / "study.yaml"
    file.write_text(FILE % TRIVIAL, encoding="utf-8")
    return file


@pytest.fixture
def cell(tmp_path):
    """The one run of a small study."""
    file = tmp_path / "one.yaml"
    file.write_text(
        "budget: {completions: 8}\nseeds: [1]\nproblems: {cap_set_6: {}}\narms: {plain: []}", encoding="utf-8"
    )
    (found,) = load_study(file, tmp_path / "out").cells
    return found


def test_the_runs_go_by_seed_then_engine_then_problem(study_file, tmp_path):
    """A study that is cut is balanced, and runs with the same engine follow each other, whatever their problem."""
    study = load_study(study_file, tmp_path / "out")

    assert [str(cell) for cell in study.cells] == [
        f"{problem}, {arm}, seed {seed}"
        for seed in (1, 2)
        for arms in (("plain", "large"), ("other",))
        for problem in ("trivial", "cap_set_6")
        for arm in arms
    ]
    assert len({cell.folder for cell in study.cells}) == 12
    assert study.cells[0].folder == tmp_path / "out" / "trivial" / "plain-1"


def test_the_options_of_an_arm_go_before_those_of_all(study_file, tmp_path):
    """Each run has the study's budget and its own seed; an arm's word replaces the same word of all."""
    cells = {(cell.problem, cell.arm, cell.seed): cell.config for cell in load_study(study_file, tmp_path).cells}

    assert cells["trivial", "plain", 1].prompt.inspirations == 0
    assert cells["trivial", "large", 2].rollout.samples == 4
    assert cells["cap_set_6", "plain", 2].rollout.samples == 2
    assert {config.budget.completions for config in cells.values()} == {8}
    assert cells["cap_set_6", "other", 2].run.seed == 2


def test_what_depends_on_the_machine_may_stand_beside_the_file(study_file, tmp_path):
    """It replaces the file's; what makes a run what it is does not count among it."""
    words = [
        "sandbox.workers=3",
        "sandbox.cpus=4-15",
        "engine.gpu_memory_utilization=0.2",
        "database.url=sqlite:///a.db",
    ]

    study = load_study(study_file, tmp_path, ["sandbox.workers=3", "sandbox.cpus=0"])

    assert {(cell.config.sandbox.workers, cell.config.sandbox.cpus) for cell in study.cells} == {(3, "0")}
    assert all(map(is_machine_option, words))
    assert not any(
        map(is_machine_option, ["model=a", "engine.max_num_seqs=3", "rollout.parents=2", "file=sandbox.cpus=1"])
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("budget: {completions: 8}", "budget: {}", "budget needs completions or minutes"),
        ("budget: {completions: 8}", "budget: {completions: 8, minutes: 2}", "and not both"),
        ("budget: {completions: 8}", "budget: {completions: many}", "budget.completions: Value 'many'"),
        ("budget: {completions: 8}", "budget: {steps: 3}", "budget.steps is no key: it must be one of completions, m"),
        ("budget: {completions: 8}", "budget: 3", "budget must be a mapping of keys"),
        ("budget: {completions: 8}", "budget:", "budget must be a mapping of keys"),
        ("seeds: [1, 2]", "seeds: 1", "seeds must be a list, like [1]"),
        ("seeds: [1, 2]", "seeds:", "seeds must be a list, like []"),
        ("seeds: [1, 2]", "seeds: [one]", "seeds[0]: Value 'one'"),
        ("seeds: [1, 2]", "seeds: [1, 1]", "names a seed twice"),
        ("seeds: [1, 2]", "", "seeds is missing"),
        ("  cap_set_6: {}", "  cap_set_66: {}", "cap_set_66 is unknown"),
        ("  cap_set_6: {}", "  cap_set_6: {goal: 3}", "problems.cap_set_6.goal is no key: it must be one of options"),
        ("  cap_set_6: {}", "  cap_set_6: 3", "problems.cap_set_6 must be a mapping of keys"),
        ("  cap_set_6: {}", "  cap_set_6: {target: high}", "problems.cap_set_6.target: Value 'high'"),
        ("[prompt.inspirations=0]", "[prompt.inspiration=0]", "arm plain on trivial: prompt.inspiration is no option"),
        ("[prompt.inspirations=0]", "[run.seed=3]", "run.seed=3 cannot be an option of an arm"),
        ("[prompt.inspirations=0]", "[budget.steps=3]", "budget.steps=3 cannot be an option of an arm"),
        ("  plain:", "  a/b:", "'a/b' cannot name a folder"),
        ("arms:", "arm:", "arm is no key: it must be one of budget, seeds, problems, arms, options"),
        ("arms:", "arms: all\noptional:", "arms must be a mapping of keys"),
        ("seeds: [1, 2]", "seeds: [1, 2", "is no YAML"),
        ("seeds: [1, 2]", "seeds: [2024-13-45]", "is no YAML"),
        (
            "rollout.samples=2]",
            "{rollout.samples: 2}]",
            "options: {'rollout.samples': 2} is no option: write key=value",
        ),
        ("problem.path=", "problem.path: ", "problems.trivial.options: {'problem.path': '"),
        ("[prompt.inspirations=0]", "[prompt.inspirations: 0]", "arms.plain: {'prompt.inspirations': 0} is no option"),
        ("[prompt.inspirations=0]", "prompt.inspirations=0", "arms.plain must be a list of options"),
        ("[prompt.inspirations=0]", "", "arms.plain must be a list of options"),
        ("[prompt.inspirations=0]", "[prompt.inspirations]", "'prompt.inspirations' is no option"),
        ("budget: {completions: 8}", "budget: {completions: 0}", "budget.completions=0 must be above 0"),
        ("target: 90", "target: .nan", "problems.trivial.target=nan is no score"),
        ("budget: {completions: 8}", "budget: {minutes: -1}", "budget.minutes=-1.0 must be above 0"),
        ("  large: [", "  plain: [", "the key 'plain' stands twice"),
        ("  cap_set_6: {}", "  trivial: {}", "the key 'trivial' stands twice"),
        ("seeds: [1, 2]", "seeds: &all [1, *all]", "refers to itself"),
        ("seeds: [1, 2]", f"seeds: {'[' * 2000}{']' * 2000}", "too deep"),
    ],
)
def test_a_wrong_file_is_answered_in_one_line(study_file, tmp_path, old, new, message):
    """The line names the file and the cure; nothing is made."""
    study_file.write_text(study_file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")

    with pytest.raises(ConfigError) as caught:
        load_study(study_file, tmp_path / "out")

    assert message in str(caught.value)
    assert str(study_file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_mapping_may_be_written_once_for_several(study_file, tmp_path):
    """YAML's merge is no repetition: a key of one's own stands over that of what is merged in."""
    text = study_file.read_text(encoding="utf-8")
    text = text.replace("  trivial: {options:", "  trivial: &all {options:")
    study_file.write_text(text.replace("  cap_set_6: {}", "  cap_set_6: {<<: *all, options: []}"), encoding="utf-8")

    problems = load_study(study_file, tmp_path).file.problems

    assert {name: problem.target for name, problem in problems.items()} == {"trivial": 90, "cap_set_6": 90}
    assert problems["cap_set_6"].options == []


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("machine", None, "machine is None"),
        ("machine", {}, "machine.platform is missing"),
        ("fingerprint", 5, "fingerprint is 5"),
        ("program", 5, "program is 5"),
        ("config", "x", "config is 'x'"),
        ("config", {"model": "x"}, "the stored configuration has no learner"),
        ("figures", None, "figures is None"),
        ("figures.best", "high", "figures.best is 'high'"),
        ("figures.best", math.nan, "figures.best is nan"),
        ("figures.completions", "12", "figures.completions is '12'"),
        ("figures.completions", True, "figures.completions is True"),
        ("figures.exact", 3.0, "figures.exact is 3.0"),
        ("figures.curve", [[0.0, 1]], "figures.curve"),
        ("figures.curve", [[0.0, "1", 2.0]], "figures.curve"),
        ("figures.completions", None, "figures.completions is None"),
        ("figures.tokens", 5.0, "figures.tokens is 5.0"),
        ("figures.active_s", 10**400, "cannot be read"),
        ("figures.curve", 7, "figures.curve"),
        ("figures.last_third", {}, "figures.last_third.completions is missing"),
        ("figures.last_third", "none", "figures.last_third is 'none'"),
    ],
)
def test_a_damaged_record_is_answered_in_one_line(cell, key, value, message):
    """Its file and what is wrong are named; who has no run to read again is not told to delete what is left."""
    file = keep_record(cell)
    assert read_record(cell) is not None
    tree = json.loads(file.read_text(encoding="utf-8"))
    place = tree["figures"] if "." in key else tree
    place[key.rpartition(".")[2]] = value
    file.write_text(json.dumps(tree), encoding="utf-8")

    cures = []
    for _ in range(2):
        with pytest.raises(ConfigError) as caught:
            read_record(cell)
        assert f"{file} cannot be read" in str(caught.value)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
        cures.append(str(caught.value).rpartition("): ")[2])
        (cell.folder / "run.yaml").touch()
    assert cures == [
        "another version may have made it: use that one, or move it away to make the run anew",
        "delete it, and the run's database is read again",
    ]


def test_a_record_of_a_later_version_is_read_without_what_it_knows_more(cell):
    """Figures that this version does not know are left out; the others count."""
    file = keep_record(cell)
    known = read_record(cell)
    tree = json.loads(file.read_text(encoding="utf-8"))
    tree["figures"]["regret"] = tree["joules"] = tree["machine"]["cores"] = 5
    file.write_text(json.dumps(tree), encoding="utf-8")

    assert read_record(cell) == known


@pytest.mark.parametrize("text", ["engine: 5", "problem: [", "{}"])
def test_a_damaged_run_is_named(cell, text):
    """Of the many runs of a study, the line says which one's run.yaml cannot be read."""
    cell.folder.mkdir(parents=True)
    (cell.folder / "run.yaml").write_text(text, encoding="utf-8")
    (cell.folder / "run.json").write_text('{"run_id": 1}', encoding="utf-8")

    with pytest.raises(ConfigError, match=f"^{re.escape(str(cell.folder))}.*: the stored configuration") as caught:
        is_finished(cell)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("budget", "figures", "is_over"),
    [
        # A step has 8 x 2 completions, of which half may be late.
        ("completions: 8", {"completions": 32}, False),
        ("completions: 8", {"completions": 33}, True),
        ("minutes: 2", {"active_s": 180.0}, False),
        ("minutes: 2", {"active_s": 181.0}, True),
    ],
)
def test_runs_of_a_larger_budget_are_told_from_the_others(study_file, tmp_path, budget, figures, is_over):
    """A budget that was lowered is said on the page with the runs that had spent more; a step's overshoot is not."""
    text = study_file.read_text(encoding="utf-8").replace("completions: 8", budget)
    study_file.write_text(text.replace("rollout.samples=2", "rollout.samples=2, rollout.parents=8"), encoding="utf-8")
    study = load_study(study_file, tmp_path / "out")
    first, second = (cell for cell in study.cells if (cell.problem, cell.arm) == ("trivial", "plain"))
    keep_record(first, **{"active_s": 120.0, **figures})
    keep_record(second, active_s=120.0)
    write_results(study)

    over = ["trivial, plain, seed 1"] if is_over else []
    assert json.loads((study.folder / "results.json").read_text(encoding="utf-8"))["over_budget"] == over
    line = "These runs spent more, for the budget was larger when they were made: trivial, plain, seed 1."
    assert (line in (study.folder / "results.md").read_text(encoding="utf-8")) is is_over


def test_runs_share_an_engine_exactly_if_they_ask_for_the_same(tmp_path):
    """Another seed or prompt does not matter, another temperature does, and a trained policy is nobody else's."""
    file = tmp_path / "replies.jsonl"
    file.write_text('{"text": "no code"}\n', encoding="utf-8")
    first = parse_options(["problem=cap_set_6", "engine=scripted", f"engine.file={file}"])
    alike = replace(first, run=replace(first.run, seed=9), prompt=replace(first.prompt, inspirations=0))
    warmer = replace(first, sampling=replace(first.sampling, temperature=1.0))
    learner = replace(first, learner=GrpoConfig())

    with Engines() as engines:
        one = engines.lend(first, None, attempts=0)
        assert isinstance(one, ScriptedEngine)
        assert engines.lend(alike, None, attempts=0) is one
        assert engines.lend(warmer, None, attempts=0) is not one
        trained = engines.lend(learner, None, attempts=0)
        assert engines.lend(learner, None, attempts=0) is not trained
        assert engines.built == 4


def test_another_variant_leaves_the_options_of_the_first_behind(study_file, tmp_path):
    """Options of all runs that belong to a learner are not those of an arm that has none; the rest stays."""
    tree = yaml.safe_load(study_file.read_text(encoding="utf-8"))
    tree["options"] += ["learner=grpo", "learner.kl=0.5", "reward.mode=improvement"]
    arms = {"same": ["learner=grpo"], "none": ["learner=frozen"], "more": ["learner.learning_rate=0.25"]}
    study_file.write_text(yaml.safe_dump({**tree, "arms": arms}), encoding="utf-8")

    found = {cell.arm: cell.config for cell in load_study(study_file, tmp_path / "out").cells}

    kinds = {arm: config.learner.kind for arm, config in found.items()}
    learners = [found[arm].learner for arm in ("same", "more")]
    assert kinds == {"same": "grpo", "none": "frozen", "more": "grpo"}
    assert {config.reward.mode for config in found.values()} == {"improvement"}
    assert [(each.kl, each.learning_rate) for each in learners if isinstance(each, GrpoConfig)] == [
        (0.5, None), (0.5, 0.25)
    ]  # fmt: skip


def test_quantiles_go_from_the_worst_to_the_best():
    """Linear between two runs; where lower is better, the worst is the highest."""
    runs = [run(3.0), run(1.0), run(2.0)]

    assert [arm("p", "a", runs).quantile(share / 4) for share in range(5)] == [1.0, 1.5, 2.0, 2.5, 3.0]
    low = arm("p", "a", runs, Direction.MIN)
    assert [low.quantile(share / 4) for share in range(5)] == [3.0, 2.5, 2.0, 1.5, 1.0]


@pytest.mark.parametrize(
    ("reached", "median"), [([4, 8, 12], 8), ([4, 8, None], 8), ([4, None, None], None), ([4, None], None)]
)
def test_a_run_that_never_reached_the_target_counts_as_the_slowest(reached, median):
    """The median is one of the arm, not of those that were lucky; without a target there is nothing to reach."""
    curves = [[(0.0, 0, 1.0)] + ([] if each is None else [(1.0, each, 2.5), (2.0, each + 1, 9.0)]) for each in reached]
    runs = [run(1.0, curve=curve) for curve in curves]

    assert [each and each[1] for each in arm("p", "a", runs, target=2.0).reached_each()] == reached
    assert arm("p", "a", runs, target=2.0).reached == (None if median is None else (1.0, median))
    assert arm("p", "a", runs).reached is None


def test_a_curve_goes_on_to_the_end_of_its_run():
    """Against completions and against minutes: each rise, then the best held until the run's end."""
    found = run(3.0, curve=[(0.0, 0, 1.0), (1.5, 4, 3.0)])

    assert found.points(Against.COMPLETIONS) == [(0.0, 1.0), (4.0, 3.0), (8.0, 3.0)]
    assert found.points(Against.MINUTES) == [(0.0, 1.0), (0.025, 3.0), (2.0 / 60, 3.0)]
    assert run(3.0).points(Against.MINUTES) == []


def test_a_best_that_no_step_of_an_old_record_knew_came_at_the_end_of_its_run():
    """Their curves leave out what ended after the last step; its target is reached, and its curve rises."""
    found = run(3.0, curve=[(0.0, 0, 1.0), (1.5, 4, 2.0)])

    assert found.reached(2.5, Direction.MAX) == (2.0, 8)
    assert found.reached(1.5, Direction.MAX) == (1.5, 4)
    assert found.points(Against.COMPLETIONS) == [(0.0, 1.0), (4.0, 2.0), (8.0, 3.0), (8.0, 3.0)]


def test_pairs_are_of_the_same_problem_and_seed():
    """By hand: the arm is better where it should be higher, worse where it should be lower; one run has no partner."""
    problems = {"high": load_problem("cap_set_6"), "low": load_problem("bin_packing")}
    arms = [
        arm("high", "base", [run(1.0, 1), run(2.0, 2)]),
        arm("high", "new", [run(1.5, 1), run(2.0, 2), run(9.0, 3)]),
        arm("low", "base", [run(1.0, 1)], Direction.MIN),
        arm("low", "new", [run(1.5, 1)], Direction.MIN),
    ]

    assert sign_tests(arms, problems, "base") == [SignTest(arm="new", against="base", wins=1, losses=1, ties=1)]


@pytest.mark.parametrize(
    ("wins", "losses", "p"), [(3, 0, 0.25), (0, 3, 0.25), (6, 0, 0.03125), (5, 1, 0.21875), (1, 1, 1.0), (0, 0, 1.0)]
)
def test_the_sign_test_counts_coins(wins, losses, p):
    """Of 6 fair coins, 0 or 6 heads come up in 2 of 64 cases, at most 1 or at least 5 in 14."""
    assert SignTest(arm="a", against="b", wins=wins, losses=losses, ties=4).p == p


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_the_shipped_studies_can_be_run(file, tmp_path):
    """Each arm's options and each problem are there, at least three seeds, and a target for each problem."""
    tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    problems, arms = list(tree["problems"].items()), list(tree["arms"].items())

    # All pairs would take seconds.
    for part in ({"problems": dict(problems[:1])}, {"arms": dict(arms[:1])}):
        (tmp_path / "part.yaml").write_text(yaml.safe_dump({**tree, **part}), encoding="utf-8")
        study = load_study(tmp_path / "part.yaml", tmp_path)
        assert len(study.file.seeds) >= 3
        assert all(problem.target is not None for problem in study.file.problems.values())
