"""What the card of an exported model says of the run."""

import re
from dataclasses import replace

from attempts import new_run, report
from support import TRIVIAL

from database import open_database
from evolve.export_model import model_card
from evolve.options import parse_options
from evolve.types import Training

#: A run that its minutes ended: the third step is a merge's, and nothing of the last one was evaluated any more.
ATTEMPTS = {1: 16, 2: 16, 3: 0, 4: 16, 5: 0}
FIGURES = {
    1: {"loss": 0.5, "reward": 1.5, "valid": 0.25},
    2: {"loss": 0.5, "reward": 2.0, "valid": 0.5},
    4: {"loss": 0.5, "reward": 2.5, "valid": 0.75},
    5: {"loss": 0.0},
}


def rows_of_card(tmp_path) -> dict[str, str]:
    """Return the table of the run's card."""
    config = parse_options([f"problem.path={TRIVIAL}", "learner=grpo", "rollout.parents=2", "rollout.samples=8"])
    with open_database(f"sqlite:///{tmp_path / 'evolve.db'}") as database:
        store = new_run(database, "folder")
        for step, attempts in ATTEMPTS.items():
            store.finish_step(replace(report(step), attempts=attempts), [])
        for step, values in FIGURES.items():
            store.insert_training(Training(step=step, values=values))
        card = model_card(config, store, licence="mit", learned=5, form="merged")
    return dict(re.findall(r"^\| (.+?) \| (.+) \|$", card, re.MULTILINE))


def test_steps_without_completions_are_not_on_the_card(tmp_path):
    """A merge has made none, nor has the end of the minutes."""
    assert rows_of_card(tmp_path)["steps"].startswith("3 of 2 x 8 completions at most; the weights learned from step 5")


def test_the_last_update_on_the_card_is_the_last_one_that_saw_replies(tmp_path):
    """That of an empty step has neither reward nor programs."""
    rows = rows_of_card(tmp_path)

    assert rows["reward in the first and in the last update"] == "1.5 / 2.5"
    assert rows["valid programs in the first and in the last update"] == "0.25 / 0.75"


def test_the_card_says_of_when_its_options_are(tmp_path):
    """Those of a resume are stored nowhere."""
    assert "learning rate 1e-06" in rows_of_card(tmp_path)["training, as the run began"]
