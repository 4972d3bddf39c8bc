"""Ctrl-C while a session begins, and once more while what it held is freed."""

import contextlib
import io
import time

import pytest
from rich.console import Console
from support import program, trivial

from evolve.cli import call
from evolve.compose import Clocks
from evolve.options import parse_options
from evolve.search import see_to_its_end
from evolve.session import Outside, new_session


@pytest.fixture
def paper():
    """What was printed."""
    return io.StringIO()


@contextlib.contextmanager
def interrupted_afterwards(sessions):
    """The same session, with a Ctrl-C after its end."""
    with sessions as session:
        yield session
        raise KeyboardInterrupt


@contextlib.contextmanager
def interrupted_before():
    """A session that Ctrl-C keeps from beginning."""
    raise KeyboardInterrupt
    yield


def test_an_interrupt_after_a_session_says_that_it_stopped(replies, tmp_path, paper):
    """And not that nothing was run: the run is there, and so is what to type next."""
    config = parse_options(trivial(replies([program(7)]), tmp_path / "run", "budget.steps=1", "rollout.samples=1")[1:])
    console = Console(file=paper, width=300)
    outside = Outside(clocks=Clocks(monotonic=time.monotonic, wall=time.time), console=console)
    session = new_session(config, tmp_path / "run", outside)

    assert see_to_its_end(interrupted_afterwards(session), console) == 130

    said = paper.getvalue().splitlines()
    assert "best 7.0" in said[-2]
    assert said[-1] == "stopped"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("run", "evolve run: stopped before anything was run\n"),
        ("resume", "evolve resume: stopped before it went on: nothing is lost, resume it again\n"),
        ("show", "evolve show: stopped\n"),
    ],
)
def test_an_interrupt_before_a_session_says_what_there_is(command, said, capsys):
    """Of a new run nothing, which need not be deleted; of one that was to be gone on with, all of it."""
    commands = {command: lambda _, console: see_to_its_end(interrupted_before(), console)}

    assert call([command], commands) == 130
    assert capsys.readouterr().err == said
