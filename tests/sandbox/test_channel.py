"""Calls and answers on descriptor 3."""

from __future__ import annotations

import socket
import time

import sandbox
from sandbox import Ending, frame


def test_many_calls_share_one_state(play):
    """The program stays alive between calls, so what it keeps is there."""
    source = "seen = []\ndef solve(x):\n    seen.append(x)\n    return sum(seen)"

    assert play(source, [1], [2], [3]).answers == (1, 3, 6)


def test_arrays_arrive_as_numpy_arrays_and_leave_as_blocks(play):
    """An int64 array of the caller's becomes a numpy array; the answer's array comes back as nested lists."""
    source = "def solve(items):\n    assert type(items).__module__ == 'numpy'\n    return items.reshape(2, 2) * 0.5"
    np = __import__("pytest").importorskip("numpy")

    assert play(source, [np.array([1, 2, 3, 4])]).answers == ([[0.5, 1.0], [1.5, 2.0]],)


def test_the_end_of_the_peer_is_the_end_of_the_program(box):
    """A peer that closes without a call ends the program with status 0."""
    ours, theirs = socket.socketpair()
    ours.close()
    job = sandbox.Job(source="def solve(): return 1", entry_point="solve", seed=0)

    assert box.run(job, theirs).ending is Ending.FINISHED


def test_the_sandbox_owns_the_channel(box):
    """`run` closes its end, so that the peer sees the end of the program."""
    ours, theirs = socket.socketpair()
    with ours:
        box.run(sandbox.Job(source="1/0", entry_point="solve", seed=0), theirs)

        assert theirs.fileno() == -1
        assert ours.recv(1) == b""


def test_an_answer_over_the_limit_is_refused_by_its_reader(play):
    """Ten million numbers are refused by length, before they are decoded."""
    played = play("def solve(): return [1] * 10_000_000")

    assert (played.answers, played.fault) == ((), frame.FrameFault.TOO_LARGE)


def test_a_seed_below_0_is_another_than_the_one_above(play):
    """`random.seed` takes -7 for 7; here runs with these seeds draw differently, so that neither has seen the other."""
    source = "import random\nimport numpy\ndef solve(): return [random.random(), numpy.random.rand()]"

    (above,) = play(source, seed=7).answers
    (below,) = play(source, seed=-7).answers

    assert above[0] != below[0]
    assert above[1] != below[1]


def test_the_answer_to_a_seed_is_always_the_same(play):
    """Unseeded generators of `random` and numpy draw the same in two runs with one seed, else not."""
    source = (
        "import random, numpy as np\n"
        "def solve():\n"
        "    one, two = np.random.default_rng(), np.random.default_rng()\n"
        "    return [random.random(), np.random.rand(), one.random(), two.random(), np.random.RandomState().rand()]\n"
    )
    (first,) = play(source, seed=7).answers
    (again,) = play(source, seed=7).answers
    (other,) = play(source, seed=8).answers

    assert first == again
    assert len(set(first)) == 5
    assert not set(first) & set(other)


def test_a_round_trip_costs_well_below_a_millisecond(play):
    """Thousands of small calls are affordable; the bound leaves room for a loaded machine."""
    begin = time.perf_counter()
    played = play("def solve(x): return x", *[[1.5]] * 2000)

    assert len(played.answers) == 2000
    assert (time.perf_counter() - begin) / 2000 < 1e-3
