"""Copies and near-copies, in whole runs of the command."""

import sqlite3

from support import program, trivial


def rows(run, query):
    """Return the rows of a query of a run's database."""
    connection = sqlite3.connect(run / "evolve.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_only_the_reward_of_a_near_copy_changes(evolve, replies, tmp_path):
    """Of two children of the seed program, which scores 0, one gains 500 of the span of 1e9, the other 2e6.

    The archive, the places in the population and all else that is stored of the attempts are the same without options.
    """
    file = replies([program(500), program(2_000_000)])
    words = ("budget.steps=1", "rollout.parents=1", "rollout.samples=2")
    for name, options in (("plain", ()), ("near", ("reward.near_score=0.001",)), ("edit", ("reward.near_edit=1",))):
        done = evolve(*trivial(file, tmp_path / name, *words, *options))
        assert done.returncode == 0, done.stderr
    rewards = {
        name: rows(tmp_path / name, "select reward from attempts where id > 0 order by id")
        for name in ("plain", "near", "edit")
    }

    assert rewards["plain"] == [(500.0,), (2_000_000.0,)]
    assert rewards["near"] == [(-0.3,), (2_000_000.0,)]
    assert rewards["edit"] == [(-0.3,), (-0.3,)]
    for query in (
        "select id, outcome from attempts order by id",
        "select * from memberships order by program_id, island",
        "select * from archive_cells order by program_id, island",
    ):
        assert rows(tmp_path / "plain", query) == rows(tmp_path / "near", query) == rows(tmp_path / "edit", query)


def test_a_copy_of_an_invalid_program_costs_what_that_cost(evolve, replies, tmp_path):
    """Unless repetitions are punished: an invalid program costs 0.1 again, one that crashed 0.2; a valid one pays."""
    crash = "```python\ndef answer():\n    return 1 / 0\n```\n"
    texts = [program("no number"), crash, program(500)]
    words = ("budget.steps=2", "rollout.parents=1", "rollout.samples=3", "selection=best_of_n")
    for lazy in ("none", "parent", "any"):
        done = evolve(*trivial(replies([*texts, *texts]), tmp_path / lazy, *words, f"reward.lazy={lazy}"))
        assert done.returncode == 0, done.stderr
    query = "select step, outcome, reward from attempts where id > 0 order by id"
    first = [(1, "invalid", -0.1), (1, "crashed", -0.2), (1, "valid", 500.0)]
    again = {"none": (-0.1, -0.2, 500.0), "parent": (-0.1, -0.2, 500.0), "any": (-0.3, -0.3, -0.3)}

    for lazy, rewards in again.items():
        assert rows(tmp_path / lazy, query) == [*first, *((2, "duplicate", reward) for reward in rewards)]
