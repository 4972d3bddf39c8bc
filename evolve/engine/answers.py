"""What the answers of an OpenAI-compatible server say (`evolve.engine.server`)."""

import email.utils
from dataclasses import dataclass

import httpx

from evolve.types import FinishReason

#: How much of a server's own message is repeated, in characters.
_MESSAGE_CHARACTERS = 300
#: No reply and no prompt has so many; databases hold all numbers below.
_TOO_MANY_TOKENS = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A chat completion; the numbers of tokens are None where the server counts none."""

    text: str
    finish_reason: FinishReason
    tokens: int | None
    prompt_tokens: int | None


def reply_of(response: httpx.Response) -> Reply | None:
    """Return what the model said, None where the answer is something else."""
    try:
        answer = response.json()
        choice = answer["choices"][0]
        text = _text(choice["message"]["content"])
        usage = answer.get("usage")
        cut = choice.get("finish_reason") == "length"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    counts = usage if isinstance(usage, dict) else {}
    return Reply(
        text=text,
        finish_reason=FinishReason.LENGTH if cut else FinishReason.STOP,
        tokens=_count(counts.get("completion_tokens")),
        prompt_tokens=_count(counts.get("prompt_tokens")),
    )


def _text(content: object) -> str:
    """Return a reply's text, which some servers give in parts; one that is all thinking or all refusal has none.

    Raises:
        TypeError: It is neither text nor parts.
        LookupError: A part does not say what it is, or lacks its text.
    """
    if content is None:
        return ""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    if isinstance(content, str):
        return content
    raise TypeError(f"a reply cannot be of type {type(content).__name__}")


def _count(said: object) -> int | None:
    """Return a number of tokens that a server gives, None where it is no such number."""
    return said if type(said) is int and 0 <= said < _TOO_MANY_TOKENS else None


def message(response: httpx.Response) -> str:
    """Return the server's own words, in one line.

    OpenAI and most others say `{"error": {"message": ...}}`; some `{"error": ...}`, `{"message": ...}` or
    `{"detail": ...}`.
    """
    try:
        said = response.json()
    except (ValueError, RecursionError):
        return one_line(response.text)
    for key in ("error", "message", "detail"):
        if isinstance(said, dict) and said.get(key):
            said = said[key]
    return one_line(str(said))


def one_line(text: str) -> str:
    """Return a text in one line, cut if it is long."""
    line = " ".join(text.split())
    return line if len(line) <= _MESSAGE_CHARACTERS else line[:_MESSAGE_CHARACTERS] + "..."


def retry_after_s(response: httpx.Response) -> float | None:
    """Return how long the server asks to wait, in seconds, or None.

    The header holds seconds, or a date (RFC 9110, 10.2.3), which is compared with the server's own clock.
    """
    asked = response.headers.get("retry-after")
    if asked is None:
        return None
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        until = email.utils.parsedate_to_datetime(asked)
        return max(0.0, (until - email.utils.parsedate_to_datetime(response.headers["date"])).total_seconds())
    except (ValueError, KeyError, TypeError):
        return None
