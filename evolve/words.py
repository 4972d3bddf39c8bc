"""The `key=value` words of the commands that take no configuration."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from evolve.errors import ConfigError


def named_words(
    words: Sequence[str], *, required: Sequence[str] = (), optional: Sequence[str] | None = None
) -> tuple[dict[str, str], list[str]]:
    """Split words into the named ones and the others.

    Args:
        words: Like `run=DIR`.
        required: Names that must be there.
        optional: Names that may be there; None lets any other word through.

    Raises:
        ConfigError: A word is no `key=value`, a required one is missing, or one is unknown.
    """
    named: dict[str, str] = {}
    others: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"{word!r} is no option: options look like key=value")
        if key in required or key in (optional or ()):
            named[key] = value
        elif optional is None:
            others.append(word)
        else:
            raise ConfigError(f"{key} is no option here: it must be one of {', '.join([*required, *optional])}")
    for key in required:
        if key not in named:
            raise ConfigError(f"{key} is missing: add {key}=...")
    return named, others


def path_of(name: str, value: str) -> Path:
    """Return the path that a word names, a home folder at its beginning (`~` or `~USER`) written out.

    Args:
        name: Of the option, for messages.
        value: Like `~/runs/first`.

    Raises:
        ConfigError: The machine has no such user.
    """
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        user = value.partition("/")[0].removeprefix("~")
        raise ConfigError(f"{name}={value}: there is no user {user} here; write the folder out") from error


def output_format(named: Mapping[str, str]) -> str:
    """Return the format that the words ask for: "text" or "json"."""
    chosen = named.get("format", "text")
    if chosen not in ("text", "json"):
        raise ConfigError(f"format={chosen} is unknown: it must be text or json")
    return chosen
