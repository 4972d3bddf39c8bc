"""An engine in a process of its own fails like one in this process, and leaves nothing behind."""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evolve.engine.apart import EngineApart
from evolve.errors import ConfigError, EngineError
from evolve.types import Message, Request
from tests.engine.odd_engines import OddEngine, refused


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


def test_what_is_abandoned_is_not_decoded_to_its_end():
    """Of a minute's work the next stream waits for one completion of a second at most."""
    engine = EngineApart(functools.partial(OddEngine, 1.0))
    stream = engine.stream([ask(0, *range(60))])
    next(stream)
    began = time.monotonic()
    stream.close()
    assert len(list(engine.stream([ask(0, 0)]))) == 1
    engine.close()

    assert time.monotonic() - began < 30


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
