"""Pictures of runs: every text in them is drawn as it stands."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import matplotlib
import pytest
from attempts import report, valid
from support import TRIVIAL

from evolve.dashboard.arms import Against, compare
from evolve.dashboard.figures import draw_arms, draw_curves, draw_learning
from evolve.report import RunResult, draw_curve
from evolve.standing import Standing
from evolve.types import Record, Training
from problems import load_problem

#: What would be set as mathematics, and what cannot even be set; dollars alone, escaped ones, none.
TEXTS = ("$5 per $", "cost $_{$ of", "$x$ and \\$5", "a $", "\\$ a_b^2 {")


def texts_of(file):
    """Return the texts of a picture, each as it is read."""
    return [
        "".join(element.itertext()) for element in ET.parse(file).getroot().iter("{http://www.w3.org/2000/svg}text")
    ]


@pytest.fixture(params=TEXTS)
def text(request):
    """A text of a user's; pictures hold their texts as texts meanwhile."""
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        yield request.param


@pytest.fixture
def problem(text):
    """A problem with the text wherever a problem has one."""
    record = Record(score=9.0, holder=text, date=text, source="here", exactly_valid=True)
    return replace(load_problem("trivial", TRIVIAL), title=text, unit=text, records=(record,))


def test_the_curve_of_a_run_shows_its_problem_s_words(text, problem, tmp_path):
    """Title, unit and the holder of the record are read as they were written."""
    result = RunResult(
        problem=problem,
        model="m",
        seed=0,
        bests=[Standing(attempt=valid(0, 1.0), confirmation=None)],
        quarantine=[],
        curve=[(0.0, 0, 1.0)],
        outcomes={},
        lost="",
        evaluations={},
        steps=[report(1)],
        tokens=0,
        prompt_tokens=0,
        ended="",
    )
    draw_curve(result, tmp_path / "curve.svg")

    assert {f"{text}: 1.0", text, f"{text}, {text}"} <= set(texts_of(tmp_path / "curve.svg"))


def test_the_pictures_of_a_report_show_their_words(text, problem, tmp_path):
    """The unit, and the names of what a learner reports."""
    draw_curves(problem, [(0.0, 0.0, 1.0), (1.0, 1.0, 2.0)], tmp_path / "curves.svg")
    values = {f"{text}_min": 1.0, f"{text}_max": 2.0}
    draw_learning([Training(step=1, values=values), Training(step=2, values=values)], tmp_path / "learning.svg")

    words = text.replace("_", " ")
    assert text in texts_of(tmp_path / "curves.svg")
    assert {words, f"{words} min", f"{words} max"} <= set(texts_of(tmp_path / "learning.svg"))


def test_arms_are_named_as_their_user_named_them(text, problem, tmp_path):
    """Title, unit and the arms in the legend; the powers of ten beside them are set as such."""
    arms = {name: [[(0.0, 1.0), (10.0, 2.0)]] for name in (text, "other")}
    draw_arms(compare(problem, arms, Against.COMPLETIONS), tmp_path / "arms.svg")

    found = texts_of(tmp_path / "arms.svg")
    assert {text, f"{text} (1)", "other (1)"} <= set(found)
    assert found.count(text) == 2
    assert not any("mathdefault" in each for each in found)
