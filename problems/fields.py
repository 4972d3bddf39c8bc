"""Typed reading of a problem.yaml: whatever is missing, unknown or of the wrong type is named."""

import math
from collections.abc import Mapping
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import yaml

from evolve.errors import ProblemError

_Choice = TypeVar("_Choice", bound=StrEnum)


class Fields:
    """One mapping of a YAML file; `finish()` refuses the keys that nobody asked for.

    Attributes:
        file: For messages.
        place: Dotted path of this mapping in the file; empty for the whole file.
    """

    def __init__(self, content: object, *, file: Path, place: str = "") -> None:
        self.file = file
        self.place = place
        if not isinstance(content, Mapping):
            raise ProblemError(f"{file}: {place or 'the file'} must be a mapping of keys, got {_kind(content)}")
        self._content = dict(content)

    @classmethod
    def load(cls, file: Path) -> "Fields":
        """Read a YAML file.

        Raises:
            ProblemError: It cannot be read, is not YAML, is nested too deeply, or is no mapping.
        """
        try:
            return cls(yaml.safe_load(file.read_text(encoding="utf-8")), file=file)
        except (OSError, UnicodeDecodeError) as error:
            raise ProblemError(f"{file} cannot be read: {error}") from error
        except yaml.YAMLError as error:
            raise ProblemError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from error
        except RecursionError as error:
            raise ProblemError(f"{file} is nested too deeply: write it with fewer levels") from error

    def text(self, key: str) -> str:
        """Return a text that is not blank, without blanks around it."""
        value = self._take(key)
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(key, "a text in quotes", value)
        return value.strip()

    def optional_text(self, key: str) -> str | None:
        """Return a text, or None where the key is missing."""
        return self.text(key) if key in self._content else None

    def decimal(self, key: str) -> str:
        """Return a number as the text that was written: in quotes, so that no digit is lost."""
        text = self.text(key)
        try:
            Fraction(text)
        except (ValueError, ZeroDivisionError) as error:
            raise self._wrong(key, "a decimal number, or a fraction, in quotes", text) from error
        return text

    def optional_decimal(self, key: str) -> str | None:
        """Return a number as text, or None where the key is missing."""
        return self.decimal(key) if key in self._content else None

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts; it may be empty."""
        entries = {str(i): entry for i, entry in self._list(key)}
        fields = Fields(entries, file=self.file, place=self._path(key))
        return tuple(fields.text(i) for i in entries)

    def names(self, key: str) -> tuple[str, ...]:
        """Return a list of different Python identifiers; empty where the key is missing."""
        names = self.texts(key) if key in self._content else ()
        for name in names:
            if not name.isidentifier() or names.count(name) > 1:
                raise self._wrong(key, "a list of different names of letters, digits and _", name)
        return names

    def number(self, key: str) -> float:
        """Return a finite number."""
        value = self._take(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self._wrong(key, "a finite number", value)
        return float(value)

    def positive(self, key: str) -> float:
        """Return a finite number above 0."""
        value = self.number(key)
        if value <= 0:
            raise self._wrong(key, "a number above 0", value)
        return value

    def count(self, key: str) -> int:
        """Return a whole number of at least 1."""
        value = self._take(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self._wrong(key, "a whole number of at least 1", value)
        return value

    def flag(self, key: str) -> bool:
        """Return true or false."""
        value = self._take(key)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false", value)
        return value

    def choice(self, key: str, choices: type[_Choice]) -> _Choice:
        """Return the member of an enumeration whose value stands there."""
        value = self._take(key)
        if not isinstance(value, str) or value not in list(choices):
            raise self._wrong(key, f"one of {', '.join(choices)}", value)
        return choices(value)

    def values(self, key: str) -> tuple[object, ...]:
        """Return a list of anything; empty where the key is missing."""
        return tuple(entry for _, entry in self._list(key)) if key in self._content else ()

    def mapping(self, key: str) -> "Fields":
        """Return the mapping under `key`."""
        return Fields(self._take(key), file=self.file, place=self._path(key))

    def optional_mapping(self, key: str) -> "Fields | None":
        """Return the mapping under `key`, or None where the key is missing."""
        return self.mapping(key) if key in self._content else None

    def mappings(self, key: str) -> tuple["Fields", ...]:
        """Return the list of mappings under `key`; it may be empty."""
        return tuple(Fields(entry, file=self.file, place=f"{self._path(key)}.{i}") for i, entry in self._list(key))

    def finish(self) -> None:
        """Refuse what is left over.

        Raises:
            ProblemError: A key is unknown.
        """
        for key in self._content:
            raise ProblemError(f"{self.file}: unknown key {self._path(str(key))}; remove it or correct its spelling")

    def _take(self, key: str) -> object:
        if key not in self._content:
            raise ProblemError(f"{self.file}: key {self._path(key)} is missing")
        return self._content.pop(key)

    def _list(self, key: str) -> list[tuple[int, object]]:
        value = self._take(key)
        if not isinstance(value, list):
            raise self._wrong(key, "a list", value)
        return list(enumerate(value))

    def _path(self, key: str) -> str:
        return f"{self.place}.{key}" if self.place else key

    def _wrong(self, key: str, expected: str, value: object) -> ProblemError:
        return ProblemError(f"{self.file}: {self._path(key)} must be {expected}, got {_kind(value)}")


def _kind(value: object) -> str:
    """Return a value as a message shows it: short, in one line."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
