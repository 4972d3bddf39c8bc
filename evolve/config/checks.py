"""What the options check of themselves."""

from collections.abc import Iterable

from evolve.errors import ConfigError


def at_least(name: str, value: float | None, low: float) -> None:
    """Raise ConfigError when the option `name` is below `low`; None stands for an option that is not set."""
    if value is not None and value < low:
        raise ConfigError(f"{name}={value} is too small: it must be at least {low:g}")


def one_of(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise ConfigError when the option `name` is none of the choices."""
    known = [str(choice) for choice in choices]
    if value not in known:
        raise ConfigError(f"{name}={value} is unknown: it must be one of {', '.join(known)}")
