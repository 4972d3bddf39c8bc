"""Each known attack fails, as root and as nobody, in tiers full and lite, and the world outside stays as it was."""

from __future__ import annotations

import pytest
from attack.conftest import PERSONAS, outcomes
from attack.driver import CASES

from sandbox import Tier

RUNS = [(persona, case.name) for persona in PERSONAS for case in CASES if persona.split()[1] in case.tiers]


@pytest.mark.parametrize(("persona", "name"), RUNS, ids=lambda value: str(value).replace(" ", "-"))
def test_the_attack_fails(persona: str, name: str) -> None:
    """The program ends as it must, its tries fail, and sentinel, files, listeners, secret and zygote are untouched."""
    assert outcomes(persona)[name]["wrong"] == []


def test_every_row_of_the_list_has_an_attack() -> None:
    """No row of the list of attacks is without a case."""
    assert {case.row for case in CASES} == set(range(1, 46))


def test_names_are_unique() -> None:
    """A name stands for one case."""
    assert len({case.name for case in CASES}) == len(CASES)
    assert {tier for case in CASES for tier in case.tiers} <= {str(tier) for tier in Tier}
