"""Which processors programs are evaluated on."""

import os

import pytest

from evolve.compose import problem_of, workshop_of
from evolve.cores import evaluation_cpus, listed
from evolve.errors import ConfigError
from evolve.options import parse_options


@pytest.mark.parametrize(
    ("text", "numbers"), [("3", {3}), ("2-5", {2, 3, 4, 5}), ("0,2-3,7", {0, 2, 3, 7}), ("4-4", {4})]
)
def test_processors_are_written_as_for_taskset(text, numbers):
    """Single numbers and ranges, both ends included."""
    assert listed(text) == numbers


def test_programs_may_use_all_processors_unless_some_are_named():
    """The option names those that they may use."""
    last = max(os.sched_getaffinity(0))
    words = ["problem=circle_packing"]

    assert evaluation_cpus(parse_options(words)) == ()
    assert evaluation_cpus(parse_options([*words, f"sandbox.cpus={last}"])) == (last,)


def test_a_runs_sandbox_keeps_to_them():
    """The option reaches what starts the programs."""
    last = max(os.sched_getaffinity(0))
    config = parse_options(["problem=circle_packing", "sandbox.require=none", f"sandbox.cpus={last}"])
    with workshop_of(config, problem_of(config)) as workshop:
        assert workshop.sandbox.blueprint.cpus == (last,)


@pytest.mark.parametrize("text", ["all", "5-2", "-1", "99999", "0-99999"])
def test_what_names_no_processors_of_this_process_is_refused(text):
    """In one line that says which there are."""
    with pytest.raises(ConfigError, match=r"sandbox\.cpus=.* names no processors of this process, which may use"):
        evaluation_cpus(parse_options(["problem=circle_packing", f"sandbox.cpus={text}"]))
