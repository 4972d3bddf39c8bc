"""Several processes of one run: who decodes what, what rank 0 hears, and what is refused."""

import contextlib
import threading
from multiprocessing import Pipe
from pathlib import Path

import pytest

from evolve.errors import ConfigError, EngineError, LearnerError
from evolve.launch import Place, check_launch
from evolve.types import Message, Request
from rl.checkpoint import Mark, check_sharding, write_mark
from rl.errors import CheckpointError, PolicyMismatchError, RankError, TrainingMemoryError, UnsupportedAttentionError
from rl.ranks import Advance, Crew, Decode, End, Failed, RankedEngine, decode, part, spread
from rl.rollout import Rollouts
from tests.rl.toy import SETTINGS, ListStore, SilentEngine, completion, group_of, report


def request(group, samples):
    """A group of which some samples are wanted."""
    return Request(
        group=group, messages=(Message(role="user", content="ab"),), samples=tuple(range(samples)), first=100 * group
    )


class ListEngine(SilentEngine):
    """Yields a completion for every wanted sample, and remembers how many it made; `failing` fails after one."""

    def __init__(self, failing=False, gate=None):
        super().__init__()
        self.failing, self.gate, self.made = failing, gate, 0

    def stream(self, requests):
        """Yield them in order."""
        for wanted in requests:
            for sample in wanted.samples:
                if self.gate is not None and self.made:
                    self.gate.wait(10)
                self.made += 1
                yield completion(sample, group=wanted.group)
                if self.failing:
                    raise EngineError("vLLM failed: no memory; resume the run")

    def close(self):
        """Hold nothing."""


@contextlib.contextmanager
def crew_of(*engines):
    """Yield a crew of ranks that serve from threads, as they do from processes; one without an engine is dead."""
    pairs = [Pipe() for _ in engines]

    def serve(engine, link):
        with contextlib.suppress(EOFError):
            while engine is not None and not isinstance(message := link.recv(), End):
                if isinstance(message, Decode):
                    decode(engine, message.requests, link.send, link.poll)
        link.close()

    threads = [
        threading.Thread(target=serve, args=(engine, theirs))
        for engine, (_, theirs) in zip(engines, pairs, strict=True)
    ]
    for thread in threads:
        thread.start()
    crew = Crew([mine for mine, _ in pairs])
    try:
        yield crew
    finally:
        crew.end()
        for thread in threads:
            thread.join(10)


def test_groups_stay_whole_and_the_work_is_even():
    """Of groups with 4, 4, 4, 4 samples each of two ranks gets two; a short one goes to whom has the least."""
    assert [[wanted.group for wanted in share] for share in spread([request(group, 4) for group in range(4)], 2)] == [
        [0, 2],
        [1, 3],
    ]
    assert [
        [wanted.group for wanted in share] for share in spread([request(0, 1), request(1, 4), request(2, 2)], 2)
    ] == [[1], [2, 0]]


def test_every_completion_comes_once_from_all_ranks():
    """Three ranks, six groups of four: 24 completions, eight from each engine."""
    own, second, third = ListEngine(), ListEngine(), ListEngine()
    with crew_of(second, third) as crew:
        made = list(RankedEngine(own, crew).stream([request(group, 4) for group in range(6)]))

    assert sorted((one.group, one.sample) for one in made) == [
        (group, sample) for group in range(6) for sample in range(4)
    ]
    assert (own.made, second.made, third.made) == (8, 8, 8)


def test_a_rank_without_a_group_is_left_alone():
    """After a kill a single group may be left to make."""
    own, second = ListEngine(), ListEngine()
    with crew_of(second) as crew:
        made = list(RankedEngine(own, crew).stream([request(0, 4)]))

    assert len(made) == 4
    assert second.made == 0


def test_a_stream_that_is_closed_early_stops_every_rank_and_the_next_one_is_whole():
    """Each rank ends the completion it is at, and nothing of the old stream comes in the new one."""
    gate = threading.Event()
    own, second = ListEngine(gate=gate), ListEngine(gate=gate)
    with crew_of(second) as crew:
        engine = RankedEngine(own, crew)
        stream = engine.stream([request(0, 50), request(1, 50)])
        next(stream)
        threading.Timer(0.2, gate.set).start()
        stream.close()
        stopped = own.made + second.made
        made = list(engine.stream([request(2, 3), request(3, 3)]))

    assert stopped < 100
    assert sorted(one.group for one in made) == [2, 2, 2, 3, 3, 3]


def test_an_engine_that_fails_elsewhere_ends_the_step():
    """Its own words come through, and the rank is known."""
    with crew_of(ListEngine(failing=True)) as crew:
        with pytest.raises(EngineError, match="no memory"):
            list(RankedEngine(ListEngine(), crew).stream([request(0, 4), request(1, 4)]))

        assert crew.fault is not None
        assert str(crew.fault).startswith("rank 1 of 2: vLLM failed: no memory")


@pytest.mark.parametrize(
    "error",
    [
        TrainingMemoryError("20 GiB"),
        CheckpointError(Path("run"), 2, "no space"),
        PolicyMismatchError(1.0, 0.1),
        UnsupportedAttentionError("sinks"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_stopped_a_rank_arrives_in_its_own_words(error):
    """Made again from the finished words it would say them twice, or break the thread that listens."""
    mine, theirs = Pipe()
    crew = Crew([mine])
    theirs.send(Failed(error=error))
    _, arrived = crew.arrived.get(timeout=10)
    crew.end()
    theirs.close()

    assert isinstance(arrived.error, LearnerError)
    assert str(arrived.error) == str(error)
    assert str(crew.fault) == f"rank 1 of 2: {error}; all ranks end, and the database and the last checkpoint are kept"


def test_a_rank_that_dies_ends_the_step():
    """Its socket closes without a word."""
    mine, theirs = Pipe()
    crew = Crew([mine])
    threading.Timer(0.1, theirs.close).start()
    try:
        with pytest.raises(RankError, match="rank 1 of 2 has ended before the others"):
            list(RankedEngine(ListEngine(), crew).stream([request(0, 4), request(1, 4)]))
    finally:
        crew.end()


def test_a_rank_that_died_between_two_steps_ends_the_next_one():
    """The living one, which was asked first, is stopped and waited for; nobody waits for those that were not asked."""
    with (
        crew_of(ListEngine(), None) as crew,
        pytest.raises(RankError, match="rank 2 of 3 has ended before the others"),
    ):
        list(RankedEngine(ListEngine(), crew).stream([request(group, 4) for group in range(3)]))


def test_rank_0_does_not_wait_for_ever_for_a_rank_that_died():
    """It is stuck where no message reaches it: after the grace the reason is said; not when it has ended by then."""
    said = threading.Event()
    words = []
    mine, theirs = Pipe()
    Crew([mine], lambda line: (words.append(line), said.set()), grace_s=0.05)
    theirs.close()
    assert said.wait(10)
    assert words == [
        "rank 1 of 2 has ended before the others; all ranks end, and the database and the last checkpoint are kept"
    ]

    mine, theirs = Pipe()
    ended = Crew([mine], words.append, grace_s=0.2)
    theirs.close()
    assert isinstance(ended.arrived.get(timeout=10)[1], Failed)
    ended.end()
    assert not threading.Event().wait(0.4)
    assert len(words) == 1


def test_ranks_share_the_batch_and_hear_of_each_step():
    """Rank 0 takes the first half of the rows; the other gets all, and takes its own part."""
    mine, theirs = Pipe()
    crew, store = Crew([mine]), ListStore()

    def step(number):
        store.steps.append(report(number))
        return [group_of(1, 2, 3, 4), group_of(5, 6, 7, 9)]

    rollouts = Rollouts(step, [1], SilentEngine(), store, SETTINGS, crew=crew)
    try:
        assert rollouts.advance()
        assert len(rollouts(["-"] * 4, None)["completion_ids"]) == 4
        assert not rollouts.advance()
        heard = [theirs.recv() for _ in range(3)]
    finally:
        crew.end()
        theirs.close()

    assert (heard[0], heard[2]) == (Advance(more=True), Advance(more=False))
    assert heard[1] == rollouts.batch
    assert [*rollouts.rows(), *part(heard[1].rows, 1, 2)] == list(heard[1].rows)


@pytest.mark.parametrize(
    ("ranks", "parents", "learner", "line"),
    [
        (2, 3, "grpo", r"3 groups a step do not divide by 2 processes: say rollout\.parents=2"),
        (4, 2, "grpo", r"2 groups a step do not divide by 4 processes: say rollout\.parents=4"),
        (2, 4, "frozen", r"2 processes, which only a learner can use: say learner=grpo"),
    ],
)
def test_a_launch_that_could_not_share_the_work_is_refused(ranks, parents, learner, line):
    """More processes than groups, groups that do not divide, and nothing to train; one line with the cure."""
    with pytest.raises(ConfigError, match=line):
        check_launch(Place(rank=0, ranks=ranks, here=ranks), parents, learner)


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (Place(rank=0, ranks=4, here=2), r"4 processes over several machines.*--num_machines 1"),
        (Place(rank=0, ranks=2, here=2, fsdp=1), r"FSDP2: say .*--fsdp_version 2"),
    ],
)
def test_a_launch_of_another_kind_is_refused(place, line):
    """Several machines, and the FSDP whose weights have no names of their own."""
    with pytest.raises(ConfigError, match=line):
        check_launch(place, 4, "grpo")


@pytest.mark.parametrize(("ranks", "parents", "learner"), [(1, 3, "frozen"), (2, 4, "grpo"), (4, 4, "grpo")])
def test_a_launch_that_divides_is_accepted(ranks, parents, learner):
    """One process needs no learner."""
    check_launch(Place(rank=0, ranks=ranks, here=ranks), parents, learner)


@pytest.mark.parametrize("sharded", [False, True])
def test_a_checkpoint_goes_on_the_way_it_was_written(sharded, tmp_path):
    """Sharded and whole weights have different files; the newest one decides."""
    checkpoint = tmp_path / "checkpoint-3"
    checkpoint.mkdir()
    if sharded:
        (checkpoint / "pytorch_model_fsdp.bin").touch()
    write_mark(checkpoint, Mark(base="", model="m", method="full", lora_rank=0, step=3))

    check_sharding(tmp_path, sharded=sharded)
    with pytest.raises(ConfigError, match="FSDP: resume with"):
        check_sharding(tmp_path, sharded=not sharded)
