"""What pages are made of: texts, charts, the folded tree, arms, what a run remembers."""

import asyncio
import json
import re
import shutil
from dataclasses import replace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.dashboard import Growth, made_up_run, packing
from database.dashboard import Sprout
from evolve.dashboard.app import build_app
from evolve.dashboard.arms import Against, compare, compare_runs, group_by_arm
from evolve.dashboard.bests import cards, run_best
from evolve.dashboard.catalog import Catalog, key_of
from evolve.dashboard.charts import Chart, Line, Stack, line_chart, stack_chart
from evolve.dashboard.html_report import fenced, plain_markdown
from evolve.dashboard.learning import panels, time_layers
from evolve.dashboard.run_page import run_page, time_chart
from evolve.dashboard.texts import LINE_CHARS, TEXT_CHARS, printable, shown
from evolve.dashboard.tree import Tree, best_path, score_map, tree_of
from evolve.errors import ConfigError, NotFoundError
from evolve.types import Attempt, Confirmation, Direction, Origin, Outcome, StepReport, Training


@given(st.text())
def test_a_printable_text_obeys_nobody(text):
    """Whatever a model writes, what is shown holds no character that a page or a terminal acts on, and is Unicode."""
    spelled = printable(text)

    assert all(character.isprintable() or character in "\n\t" or character.isspace() for character in spelled)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", spelled)
    spelled.encode("utf-8")


@given(st.lists(st.text(max_size=3), max_size=5), st.integers(0, 3 * LINE_CHARS))
def test_what_is_cut_is_counted(lines, length):
    """Every character is shown or counted as left out, and no line is longer than a page can bear."""
    text = "\n".join([*lines, "x" * length])
    cut = shown(text)

    assert cut.left_out == max(length - LINE_CHARS, 0)
    assert max(map(len, cut.text.split("\n")), default=0) <= LINE_CHARS + 40


def test_a_long_text_ends_early():
    """A text of many lines is cut between two of them."""
    cut = shown("0123456789\n" * 100_000)

    assert len(cut.text) < TEXT_CHARS
    assert cut.left_out == 1_100_000 - cut.text.count("\n") * 11 - 11


def test_a_chart_carries_its_values_and_spells_its_names():
    """Names from outside cannot end an attribute or an element; the values can be read back."""
    name = "\"><script>alert('x')</script>"
    markup = str(
        line_chart(
            Chart(
                title=name,
                x=name,
                y="",
                lines=[Line(name=name, points=[(0, 1), (5, 3)]), Line(name="b", points=[(0, 2)])],
                marks=[(4.0, name)],
            )
        )
    )
    values = re.search('data-chart="([^"]*)"', markup)

    assert "<script" not in markup
    assert values is not None
    read = json.loads(values[1].replace("&#34;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&#39;", "'"))
    assert read["lines"][0] == {"name": name, "x": [0.0, 5.0], "y": [1.0, 3.0]}
    assert (read["x0"], read["x1"]) == (0, 5)


def test_a_long_line_is_thinned_without_losing_its_end():
    """100,000 steps become some hundred points, and the last value stays."""
    chart = Chart(title="t", x="", y="", lines=[Line(name="a", points=[(k, k * k) for k in range(100_000)])])
    markup = str(line_chart(chart))

    assert len(markup) < 30_000
    assert "99999.0" in markup
    assert "9999800001.0" in markup


def test_a_logarithmic_chart_leaves_out_what_it_cannot_show():
    """A gap of 0, or a negative one, is no point of a logarithmic line; a chart without any point is nothing."""
    points = [(0, 10.0), (1, 0.1), (2, 0.0), (3, -1.0)]
    chart = Chart(title="t", x="", y="", lines=[Line(name="a", points=points)], log=True)
    empty = Chart(title="t", x="", y="", lines=[Line(name="a", points=points[2:])], log=True)

    assert "&#34;y&#34;: [10.0, 0.1]" in str(line_chart(chart))
    assert line_chart(empty) == ""


def test_shares_add_up():
    """Each x of a stack is divided among its layers; a layer that is empty throughout is not listed."""
    stack = Stack(title="t", x="", xs=[0, 1], layers=[("a", 0, [1, 3]), ("b", 1, [1, 1]), ("c", 2, [0, 0])])
    markup = str(stack_chart(stack))

    assert "&#34;y&#34;: [50.0, 75.0]" in markup
    assert "&#34;y&#34;: [50.0, 25.0]" in markup
    assert "&#34;c&#34;" not in markup


def test_a_learners_figures_are_put_together_and_no_second_is_counted_twice():
    """Sides of one figure share a panel, what matters most comes first; generation is the report's alone."""
    values = {"clipped": 0.1, "importance_max": 1.2, "importance_min": 0.8, "reward": 2.0}
    trainings = [Training(step=4, values={**values, "generate_s": 5.0, "wait_s": 1.0, "train_s": 3.0})]
    with_report = time_layers([report(3), report(4)], trainings)

    assert [panel.title for panel in panels(trainings)] == ["reward", "importance", "clipped"]
    assert panels(trainings)[1].lines == [("importance max", [(4.0, 1.2)]), ("importance min", [(4.0, 0.8)])]
    assert with_report == [("generation", [5.0, 5.0]), ("evaluation tail", [1.0, 1.0]), ("train", [0.0, 3.0])]
    assert panels([]) == []


def report(step: int) -> StepReport:
    """Return the report of a step of 6 seconds."""
    counts = {"attempts": 1, "improved": 0, "tokens": 1, "prompt_tokens": 1, "stragglers": 0}
    times = {"generate_s": 5.0, "tail_s": 1.0, "database_s": 0.1, "finished_s": 6.0 * step}
    return StepReport(step=step, outcomes={Outcome.VALID: 1}, best=1.0, **counts, **times)


def family() -> list[Sprout]:
    """Return a seed with children 1 to 8, and a line 1 > 9 > 10 below the first; -1 was merged from another run."""
    children = [Sprout(number, 0, 1.0 + number / 10) for number in range(1, 9)]
    return [*children, Sprout(0, None, 1.0), Sprout(9, 1, 0.5), Sprout(10, 9, 3.0), Sprout(-1, None, 1.05)]


def test_a_tree_is_folded_around_its_best_path():
    """The best path comes first and whole, five children are shown, and one leaf stands for the others."""
    nodes = Tree(family(), Direction.MAX).fold(0)
    leaf = nodes[-1]

    assert [node.id for node in nodes if node.on_path] == [0, 1, 9, 10]
    assert [node.id for node in nodes if node.depth == 1 and not node.folded] == [1, 8, 7, 6, 5]
    assert (leaf.folded, leaf.size, leaf.first, leaf.best) == (4, 4, 5, 1.4)  # 4, 3, 2 and -1
    assert (nodes[0].size, nodes[0].best, nodes[1].size) == (12, 3.0, 3)
    assert [node.id for node in Tree(family(), Direction.MAX).fold(0, first=5)] == [0, 4, 3, 2, -1]


def test_the_best_path_is_shown_where_there_is_no_room_for_more():
    """Larger branches give way to the way to the best."""
    crowd = [Sprout(number, 8, 0.1) for number in range(20, 90)]
    nodes = Tree(family() + crowd, Direction.MAX).fold(0, room=7)

    assert [node.id for node in nodes if node.on_path] == [0, 1, 9, 10]
    assert next(node for node in nodes if node.id == 8 and not node.folded).hidden == 70


def test_a_tree_of_a_minimisation_follows_the_lowest():
    """The best is the least where less is better."""
    nodes = Tree(family(), Direction.MIN).fold(0)

    assert [node.id for node in nodes if node.on_path] == [0, 1, 9]


def test_a_tree_can_begin_anywhere_but_nowhere():
    """Any valid program is a root; a number that is none is refused."""
    tree = Tree(family(), Direction.MAX)

    assert [node.id for node in tree.fold(9)] == [9, 10]
    assert tree.path(10) == [0, 1, 9, 10]
    with pytest.raises(NotFoundError, match="no valid program 77"):
        tree.fold(77)


def test_a_large_tree_stays_small():
    """However large and deep a run is, a page shows about a hundred programs, and the sizes still add up."""
    sprouts = [Sprout(0, None, 0.0)] + [Sprout(k, (k * 7919) % k, float(k % 997)) for k in range(1, 20_000)]
    nodes = Tree(sprouts, Direction.MAX).fold(0)

    assert len(nodes) < 160
    assert nodes[0].size == 20_000
    assert sum(node.size for node in nodes if node.depth == 1) == 19_999


def test_the_map_shows_each_program_or_how_many():
    """A few programs are shown one by one with their parents, many as cells whose counts add up."""
    tree = Tree(family(), Direction.MAX)
    few = score_map(tree, [0, 1, 9, 10], Direction.MAX, first=0, last=10)
    many = [Sprout(0, None, 0.0)] + [Sprout(k, 0, float(k)) for k in range(1, 2000)]
    cells = score_map(Tree(many, Direction.MAX), [0], Direction.MAX, first=0, last=999)

    assert few.programs == 11
    assert [number for number, _, _, _ in few.path] == [0, 1, 9, 10]
    assert next(spot for spot in few.spots if spot.id == 10).x == 1.0
    assert (cells.programs, sum(spot.count for spot in cells.spots)) == (1000, 1000)


def test_runs_that_differ_in_their_seed_are_one_arm(runs):
    """Folder, seed, recorded replies and budget make no arm; the size of a step does."""
    with Catalog(only=[runs / "first", runs / "second"]) as catalog:
        same = group_by_arm(catalog.all()[0])
        (arm,) = compare_runs(same, Against.COMPLETIONS)
    with Catalog(only=[runs / "first", runs / "made-up"]) as catalog:
        different = group_by_arm(catalog.all()[0])

    assert [len(group) for group in same.values()] == [2]
    assert arm.xs[-1] == 8
    assert arm.final == pytest.approx([26 * 0.055, 26 * 0.054])
    assert arm.median[-1] == pytest.approx(26 * 0.0545)
    assert (arm.low[-1], arm.high[-1]) == pytest.approx((26 * 0.054, 26 * 0.055))
    assert sorted(arm.reached) == [8, 16]  # the first run needs a second step for the median
    assert len(different) == 2
    assert any("parents=32" in name for name in different)


def test_a_score_costs_completions_or_minutes(runs):
    """For what both arms reach the slow one needs half of the completions, and twice the minutes."""
    with Catalog(only=[runs / "first"]) as catalog:
        problem = catalog.all()[0][0].problem
    by_completions = {"slow": [[(0.0, 1.0), (10.0, 2.0)]], "fast": [[(0.0, 1.0), (5.0, 1.5), (20.0, 1.7)]]}
    by_minutes = {"slow": [[(0.0, 1.0), (4.0, 2.0)]], "fast": [[(0.0, 1.0), (0.5, 1.5), (2.0, 1.7)]]}

    made = compare(problem, by_completions, Against.COMPLETIONS)
    timed = compare(problem, by_minutes, Against.MINUTES)

    assert [(arm.name, arm.xs[-1], arm.reached) for arm in made] == [("slow", 10, [10]), ("fast", 20, [20])]
    assert [(arm.name, arm.xs[-1], arm.reached) for arm in timed] == [("slow", 4, [4]), ("fast", 2, [2])]
    assert 0 < timed[1].xs[1] < 0.5  # a minute has parts


def test_runs_of_two_problems_are_not_compared(runs):
    """Scores of different problems have nothing in common."""
    with Catalog(only=[runs / "first", runs / "second"]) as catalog:
        one, other = catalog.all()[0]
        one.problem = replace(one.problem, name="another")
        with pytest.raises(ConfigError, match="cannot be compared"):
            group_by_arm([one, other])


def test_a_best_in_quarantine_is_no_best(tmp_path):
    """What failed its check is counted as refused, and the confirmed best is shown although its score is lower."""
    with made_up_run(tmp_path / "run") as growth, Catalog(only=[tmp_path / "run"]) as catalog:
        growth.grow()
        (run,) = catalog.all()[0]
        best = run_best(run)
        assert best is not None
        attempt = run.views.attempt(best.program_id)
        lucky = replace(attempt.evaluations[0], score=2.7, exact="2.7")
        growth.store.insert_attempt(replace(attempt, id=5000, identity="f" * 64, score=2.7, evaluations=(lucky,)))
        growth.store.insert_confirmation(
            Confirmation(
                program_id=5000, confirmed=False, reason="it was luck", origin=Origin.SCRATCH, evaluations=(lucky,)
            )
        )
        (card,) = cards([run])

        assert (card.best.program_id, card.quarantined) == (best.program_id, 1)
        assert 5000 not in [program.id for program in run.views.best_programs(9, Direction.MAX)]


def test_what_was_read_once_grows_with_the_run(tmp_path):
    """Reports, programs and cells that are read piece by piece are those of a fresh reading."""
    with made_up_run(tmp_path / "run") as growth, Catalog(only=[tmp_path / "run"]) as catalog:
        run = catalog.all()[0][0]
        for _ in range(3):
            growth.grow()
            page = run_page(run, now=0.0)
            sprouts = run.sprouts()
        with Catalog(only=[tmp_path / "run"]) as fresh:
            again = fresh.all()[0][0]
            assert run_page(again, now=0.0).islands == page.islands
            assert sorted(again.sprouts()) == sorted(sprouts)
            assert again.reports() == run.reports()

    assert page.completions == 3 * 512
    assert sum(count for _, count in page.outcomes) == 3 * 512
    assert len(page.islands) == 4


def straggler(growth: Growth, number: int, *, score: float) -> Attempt:
    """Return an attempt of step 1 that was evaluated long enough to be the best."""
    seed = growth.seed_attempt()
    evaluation = replace(seed.evaluations[0], score=score, exact=repr(score), construction=packing(score))
    completion = replace(seed.completion, sample=number)
    return replace(
        seed, id=number, step=1, completion=completion, identity="f" * 64, score=score, evaluations=(evaluation,)
    )


def test_a_best_that_is_stored_last_is_shown(tmp_path):
    """A straggler of a finished step, which no step follows, and its check change what was remembered of the run."""
    with made_up_run(tmp_path / "run") as growth, Catalog(only=[tmp_path / "run"]) as catalog:
        growth.size += 1  # program 1 comes last
        growth.grow()
        (run,) = catalog.all()[0]
        before, best = run_page(run, now=0.0), straggler(growth, 1, score=2.7)
        valid = run.seen("valid", run.views.valid_programs)
        growth.store.insert_attempt(best)
        assert run.seen("valid", run.views.valid_programs) == valid + 1
        growth.store.insert_confirmation(
            Confirmation(program_id=1, confirmed=True, reason="", origin=Origin.SCRATCH, evaluations=best.evaluations)
        )
        after = run_page(run, now=0.0)

    assert before.best is not None
    assert before.best.program_id != 1
    assert after.best is not None
    assert after.best.program_id == 1


def test_what_is_stored_while_a_page_is_made_is_on_the_next_one(tmp_path):
    """A result stands for the run as it was before it was computed, also where it asks for another that is newer."""
    with made_up_run(tmp_path / "run") as growth, Catalog(only=[tmp_path / "run"]) as catalog:
        (run,) = catalog.all()[0]

        def slow() -> int:
            steps = len(run.reports())
            growth.grow()
            run.confirmations()
            return steps

        assert run.seen("steps", slow) == 1
        assert run.seen("steps", lambda: len(run.reports())) == 2


def test_a_program_may_come_any_number_of_steps_late(tmp_path):
    """It is in the tree, and on the way to the best when a check makes it that, with the score that counts by then."""
    with made_up_run(tmp_path / "run") as growth, Catalog(only=[tmp_path / "run"]) as catalog:
        growth.size += 1  # program 1 comes last
        growth.grow()
        for step in range(2, 14):
            growth.store.finish_step(report(step), [])
        (run,) = catalog.all()[0]
        tree_of(run)
        best = straggler(growth, 1, score=2.7)
        growth.store.insert_attempt(best)
        assert tree_of(run).scores[1] == 2.7
        growth.store.insert_confirmation(
            Confirmation(program_id=1, confirmed=True, reason="", origin=Origin.SCRATCH, evaluations=best.evaluations),
            score=2.69,
        )

        assert tree_of(run).scores[1] == 2.69
        assert best_path(run) == [0, 1]
        with Catalog(only=[tmp_path / "run"]) as fresh:
            assert sorted(fresh.all()[0][0].sprouts()) == sorted(run.sprouts())


def test_a_run_made_anew_in_the_place_of_another_has_its_own_pictures(tmp_path):
    """Neither the server nor a browser takes the picture of the old run's program for that of the new one's."""
    folder = tmp_path / "run"
    with Catalog(runs=tmp_path) as catalog:
        app = build_app(catalog, None)

        async def picture(tag: str) -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost") as client:
                path = f"/runs/{key_of(folder)}/programs/1/picture"
                return await client.get(path, headers={"if-none-match": tag})

        answers, tag = [], ""
        for score in (2.0, 2.6):
            with made_up_run(folder) as growth:
                growth.store.insert_attempt(straggler(growth, 1, score=score))
                answers.append(asyncio.run(picture(tag)))
                tag = answers[-1].headers["etag"]
                again = asyncio.run(picture(tag))
            shutil.rmtree(folder)

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content != answers[1].content
    assert {answer.headers["cache-control"] for answer in answers} == {"private, no-cache"}
    assert (again.status_code, again.content) == (304, b"")


def test_a_chart_of_the_time_does_not_grow_with_the_run():
    """50,000 steps are as heavy as some hundred, and the last step is among them."""
    markup = str(time_chart([report(step) for step in range(50_001)], []))

    assert len(markup) < 40_000
    assert "50000.0" in markup
    assert "evaluation tail 16.7 % at the end" in markup


def test_markdown_of_strangers_is_plain():
    """A text cannot leave its table cell or its block of code."""
    assert plain_markdown("a|b\n# c") == "a\\|b \\# c"
    assert fenced("```\nend", "python").startswith("````python\n")
