"""An engine in a process of its own fails like one in this process, and leaves nothing behind."""

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from evolve.engine.apart import EngineApart, PolicyApart
from evolve.errors import ConfigError, EngineError
from evolve.types import Message, Request
from tests.engine.odd_engines import OddEngine, OddPolicy, ParentEngine, refused


def ask(group: int, *samples: int) -> Request:
    """Return a request for some samples."""
    return Request(group=group, messages=(Message(role="user", content="?"),), samples=samples, first=0)


def gone(process: int, *, within_s: float = 10.0) -> bool:
    """Return whether a process has ended by then."""
    ends = time.monotonic() + within_s
    while time.monotonic() < ends:
        try:
            state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":  # nobody has asked for its exit code yet
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def engine():
    """One that answers at once."""
    engine = EngineApart(OddEngine)
    yield engine
    engine.close()


def test_it_runs_in_another_process_that_ends_with_it():
    """Its completions name that process."""
    engine = EngineApart(OddEngine)
    (completion,) = engine.stream([ask(0, 0)])
    engine.close()

    assert int(completion.text) != os.getpid()
    assert gone(int(completion.text))


def test_what_is_wrong_with_its_options_is_said_here_alone(capfd):
    """The error is the same, of the same kind, and the other process says nothing while it ends."""
    with pytest.raises(ConfigError, match=r"engine\.max_num_seqs must be positive, got 0"):
        EngineApart(refused)

    assert capfd.readouterr() == ("", "")


def test_after_an_error_it_serves_on(engine):
    """The error comes after the completions before it."""
    stream = engine.stream([ask(0, 0), ask(1, 0)])
    next(stream)
    with pytest.raises(EngineError, match="vLLM failed: out of memory"):
        next(stream)

    assert len(list(engine.stream([ask(0, 0, 1)]))) == 2


def test_the_death_of_its_process_is_an_error_that_names_the_cure(engine):
    """In the middle of a stream, and for every stream after it."""
    with pytest.raises(EngineError, match=r"process is gone \(exit code 7\).*resume the run"):
        list(engine.stream([ask(0, 0), ask(2, 0)]))
    with pytest.raises(EngineError, match="process is gone"):
        list(engine.stream([ask(0, 0)]))


def test_a_death_is_heard_of_although_what_the_process_started_lives():
    """Its children hold what it held; it is killed where the next completion would take a minute."""
    engine = EngineApart(ParentEngine)
    stream = engine.stream([ask(0, 0, 1)])
    os.kill(int(next(stream).text), signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(EngineError, match="process is gone"):
        next(stream)
    engine.close()

    assert time.monotonic() - began < 15


def test_what_is_abandoned_is_not_decoded_to_its_end():
    """Of a minute's work the engine does one completion more, while it gives another stream what it wants."""
    engine = EngineApart(functools.partial(OddEngine, 1.0))
    stream = engine.stream([ask(0, *range(60))])
    next(stream)
    began = time.monotonic()
    stream.close()
    abandoned = 0
    while not abandoned and time.monotonic() - began < 30:
        (completion,) = engine.stream([ask(0, 0)])
        abandoned = completion.tokens - 1
        time.sleep(0.1)
    engine.close()

    assert abandoned == 1


def test_closing_it_does_not_wait_for_what_it_decodes():
    """A completion that takes a minute is given up, and so is its process."""
    engine = EngineApart(functools.partial(OddEngine, 60.0))
    stream = engine.stream([ask(0, 0, 1)])
    process = int(next(stream).text)
    began = time.monotonic()
    stream.close()
    engine.close()

    assert time.monotonic() - began < 30
    assert gone(process)


def test_closing_it_ends_what_another_thread_reads():
    """Its reader hears that the process is gone; the first completion was good."""
    engine = EngineApart(functools.partial(OddEngine, 60.0))
    stream = engine.stream([ask(0, 0, 1)])
    process = int(next(stream).text)
    with ThreadPoolExecutor(1) as other:
        rest = other.submit(lambda: list(stream))
        engine.close()
        with pytest.raises(EngineError, match="process is gone"):
            rest.result(timeout=10)

    assert gone(process)


def test_an_error_of_its_own_ends_its_process(capfd):
    """One that nobody raised on purpose comes with its traceback, as it would in this process."""
    engine = EngineApart(OddEngine)
    with pytest.raises(EngineError, match=r"exit code 1\), and what it said is above"):
        list(engine.stream([ask(3, 0)]))

    assert "ZeroDivisionError" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_end_of_this_process_is_the_end_of_the_engines(number):
    """A kill leaves nobody to close it; an interrupt reaches a process that waits for a completion of a minute."""
    script = (
        "import functools, signal\n"
        "from evolve.engine.apart import EngineApart\n"
        "from tests.engine.odd_engines import OddEngine\n"
        "from tests.engine.test_apart import ask\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job ignores it
        "    engine = EngineApart(functools.partial(OddEngine, 60.0))\n"
        "    for completion in engine.stream([ask(0, 0, 1)]):\n"
        "        print(completion.text, flush=True)\n"
    )
    root = Path(__file__).parents[2]
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdout=pipe, stderr=pipe, text=True, cwd=root) as parent:
        assert parent.stdout is not None
        process = int(parent.stdout.readline())
        assert not gone(process, within_s=0.1)
        parent.send_signal(number)
        _, complaints = parent.communicate(timeout=10)

    assert gone(process)
    assert "leaked" not in complaints or number == signal.SIGKILL


@pytest.fixture
def policy():
    """One that a learner changes."""
    policy = PolicyApart(OddPolicy)
    yield policy
    policy.close()


def said(policy):
    """Return what the engine says in its process."""
    (completion,) = policy.stream([ask(0, 0)])
    return completion.text


def test_what_a_learner_asks_is_done_in_the_other_process(policy):
    """Arguments and answers travel, and what the engine raises."""
    assert policy.encode([Message(role="user", content="abc"), Message(role="user", content="")]) == [3, 0]
    with pytest.raises(ConfigError, match="refuses the prompt"):
        policy.encode([])
    policy.load_adapter(Path("/adapter"), 7)
    assert said(policy) == "/adapter 7"
    policy.sleep()
    assert said(policy) == "asleep"


def test_weights_arrive_in_order_as_they_are_and_are_still_the_learners(policy):
    """Values and types are those of the learner's tensors, which do not move into shared memory."""
    weights = [("a", torch.tensor([1.5, -2.0])), ("b", torch.tensor([[3.0]], dtype=torch.bfloat16))]
    policy.load_weights(iter(weights))

    assert said(policy) == "a torch.float32 [1.5, -2.0], b torch.bfloat16 [[3.0]]"
    assert not any(weight.is_shared() for _, weight in weights)


def test_shared_weights_are_read_where_they_are(policy):
    """Changed in place they are told by name alone; put elsewhere, or grown, they are told anew."""
    weight = torch.tensor([1.0]).share_memory_()
    policy.load_weights([("a", weight)])
    assert said(policy) == "a torch.float32 [1.0]"
    weight += 1
    policy.load_weights([("a", weight)])
    assert said(policy) == "a torch.float32 [2.0]"
    other = torch.tensor([3.0, 4.0]).share_memory_()
    policy.load_weights([("a", other), ("b", weight)])
    assert said(policy) == "a torch.float32 [3.0, 4.0], b torch.float32 [2.0]"
    other += 1
    policy.load_weights([("a", other)])
    assert said(policy) == "a torch.float32 [4.0, 5.0]"


def test_an_engine_that_refuses_weights_serves_on(policy):
    """It has not taken all of them when it says so, and more than a pipe holds is on its way."""
    policy.load_weights([("a", torch.tensor(1.0))])
    with pytest.raises(EngineError, match="cannot take the learner's weights: bad"):
        policy.load_weights([("bad", torch.tensor(float("nan"))), ("large", torch.zeros(2**20))])

    assert said(policy) == "a torch.float32 1.0"


def test_weights_that_break_off_end_the_engine(policy):
    """It would wait for the rest for ever."""

    def weights():
        yield "a", torch.tensor(1.0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        policy.load_weights(weights())
    assert not multiprocessing.active_children()
    with pytest.raises(EngineError, match="resume the run"):
        policy.sleep()


def test_a_stream_that_was_abandoned_does_not_answer_for_the_next_question(policy):
    """What is still on its way from the stream is read first."""
    stream = policy.stream([ask(0, *range(5))])
    next(stream)
    stream.close()

    assert policy.encode([Message(role="user", content="abc")]) == [3]
