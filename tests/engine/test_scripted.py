"""The engine that replays recorded completions."""

import json
import time

import pytest

from evolve.engine.scripted import ScriptedEngine
from evolve.errors import ConfigError
from evolve.types import FinishReason, Message, Request


def write(path, *texts):
    """Write one reply a line and return the file."""
    file = path / "replies.jsonl"
    file.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8")
    return file


def ask(group, samples, first):
    """Return a request with a prompt of 8 characters."""
    return Request(group=group, messages=(Message(role="user", content="8 chars!"),), samples=samples, first=first)


def texts(engine, *requests):
    """Return what each (group, sample) got."""
    return {(c.group, c.sample): c.text for c in engine.stream(requests)}


def test_line_k_is_completion_k_and_past_the_end_it_starts_again(tmp_path):
    """Groups of 2 and lines a, b, c: group 0 gets a, b; group 1 c, a; group 2 b, c."""
    engine = ScriptedEngine(write(tmp_path, "a", "b", "c"), latency_s=0)
    requests = [ask(group, (0, 1), first=2 * group) for group in range(3)]

    assert texts(engine, *requests) == {(0, 0): "a", (0, 1): "b", (1, 0): "c", (1, 1): "a", (2, 0): "b", (2, 1): "c"}


def test_a_resumed_step_gets_the_same_lines(tmp_path):
    """Samples that are no longer wanted leave their lines unused."""
    engine = ScriptedEngine(write(tmp_path, "a", "b", "c"), latency_s=0)

    assert texts(engine, ask(1, (1,), first=2), ask(2, (0,), first=4)) == {(1, 1): "a", (2, 0): "b"}


def test_all_completions_arrive_together_after_the_latency(tmp_path):
    """One wait for the whole call, none for a call that wants nothing."""
    engine = ScriptedEngine(write(tmp_path, "a"), latency_s=0.5)
    began = time.monotonic()

    assert list(engine.stream([])) == []
    assert time.monotonic() - began < 0.5
    began = time.monotonic()
    completions = list(engine.stream([ask(0, (0, 1, 2), first=0)]))
    assert 0.5 <= time.monotonic() - began < 1.5
    assert [c.seconds for c in completions] == [0.5] * 3


def test_tokens_are_estimated(tmp_path):
    """Four characters a token, rounded up."""
    (completion,) = ScriptedEngine(write(tmp_path, "123456789"), latency_s=0).stream([ask(0, (0,), first=0)])

    assert (completion.tokens, completion.prompt_tokens, completion.finish_reason) == (3, 2, FinishReason.STOP)


def test_a_line_may_hold_any_character(tmp_path):
    """U+2028 and U+0085 end no line of JSON lines, and an empty text is a text."""
    engine = ScriptedEngine(write(tmp_path, "a\u2028b\u0085c\n", ""), latency_s=0)

    assert texts(engine, ask(0, (0, 1), first=0)) == {(0, 0): "a\u2028b\u0085c\n", (0, 1): ""}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"text": "cut', "line 2 .* is not JSON"),
        (b"", "line 2 .* is not JSON"),
        (b"[" * 100_000, "line 2 .* is not JSON"),
        (b'{"text": "\xff"}', "line 2 .* is not JSON"),
        (b'"a reply"', "line 2 .* holds no text"),
        (b"{}", "line 2 .* holds no text"),
        (b'{"text": 3}', "line 2 .* holds no text"),
        (b'{"text": "a", "tokens": 3, "seed": 1}', "line 2 .* unknown keys seed, tokens"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, words):
    """When the run starts, not when the line's turn comes."""
    file = tmp_path / "replies.jsonl"
    file.write_bytes(b'{"text": "good"}\n' + line + b"\n")

    with pytest.raises(ConfigError, match=words):
        ScriptedEngine(file, latency_s=0)


def test_a_missing_or_empty_file_is_named(tmp_path):
    """And so is a folder in the place of the file."""
    empty = write(tmp_path)
    with pytest.raises(ConfigError, match=r"engine\.file=.*replies\.jsonl is empty"):
        ScriptedEngine(empty, latency_s=0)
    with pytest.raises(ConfigError, match=r"engine\.file=.*absent cannot be read \(No such file"):
        ScriptedEngine(tmp_path / "absent", latency_s=0)
    with pytest.raises(ConfigError, match="cannot be read"):
        ScriptedEngine(tmp_path, latency_s=0)


def test_a_negative_latency_is_refused(tmp_path):
    """Time does not run backwards."""
    with pytest.raises(ConfigError, match=r"engine\.latency_s"):
        ScriptedEngine(write(tmp_path, "a"), latency_s=-1)
