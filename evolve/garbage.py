"""Constructions that no verifier may accept, or trip over: the kit of `evolve doctor` and of the tests.

Each is JSON text, because that is how a construction reaches a verifier; NaN and infinity are written as Python's
json module writes them, so that the verifier's own gate is tried.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: Values that no number of a construction may be.
NO_NUMBERS: Sequence[object] = (math.nan, math.inf, -math.inf, True, False, None, "1", "", [], {}, [1.0], {"x": 1.0})
#: Numbers that may be wrong for a problem, and must never trip its verifier up.
EXTREME: Sequence[object] = (-0.0, 5e-324, 1e308, -1e308, 10**400, -(10**400), 2**53 + 1, -1, 0, 0.5)
#: Entries of the longest list.
LONGEST = 10**7


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """One construction that is tried.

    Attributes:
        name: For people.
        text: JSON.
        invalid: Whether every verifier must refuse it; else it must merely not fail on it.
    """

    name: str
    text: str
    invalid: bool


def garbage() -> Iterator[Garbage]:
    """Yield values that are no construction of any problem."""
    values: tuple[object, ...] = (
        *(None, True, False, math.nan, math.inf, -math.inf, "", "x", "1" * 1000, {}, {"x": 1}, []),
        *([math.nan], [[math.nan] * 3] * 26, [[]], [[[]]], [None], [True] * 29, [[True, False]], ["x", 1.0, None]),
        *([[1.0], [1.0, 2.0], []], [1.0, [2.0]], {"score": 1e9}, {"valid": True, "score": 1e9}, [{}], [[{}]]),
    )
    for value in values:
        yield _garbage(repr(value)[:40], value, invalid=True)
    for name, value in (("0", 0), ("-1", -1), ("1e308", 1e308), ("10**400", 10**400), ("[10**400]", [10**400])):
        yield _garbage(name, value, invalid=False)
    yield Garbage(name="200 nested lists", text="[" * 200 + "]" * 200, invalid=True)


def longest_list() -> Garbage:
    """Return a list of `LONGEST` numbers; a verifier must refuse it by its length, at once."""
    return Garbage(name=f"a list of {LONGEST} numbers", text="[" + "0," * (LONGEST - 1) + "0]", invalid=True)


def mutants(construction: str) -> Iterator[Garbage]:
    """Yield a valid construction with one number made none, made extreme, or with entries lost and doubled."""
    value = json.loads(construction)
    paths = list(_numbers(value))
    for path in dict.fromkeys((paths[0], paths[len(paths) // 2], paths[-1])) if paths else ():
        for number in NO_NUMBERS:
            yield _garbage(f"{number!r} at {_words(path)}", _replaced(value, path, number), invalid=True)
        for number in EXTREME:
            name = f"{number!r:.20} at {_words(path)}"
            yield _garbage(name, _replaced(value, path, number), invalid=False)
    yield _garbage("itself in a list", [value], invalid=True)
    yield _garbage("itself as a text", construction, invalid=True)
    if isinstance(value, list) and value:
        yield _garbage("its first entry lost", value[1:], invalid=False)
        yield _garbage("its last entry twice", [*value, value[-1]], invalid=False)
        yield _garbage("its entries reversed", value[::-1], invalid=False)
        yield _garbage("one entry a text", [*value[:-1], "x"], invalid=False)


def _garbage(name: str, value: object, *, invalid: bool) -> Garbage:
    return Garbage(name=name, text=json.dumps(value), invalid=invalid)


def _numbers(value: object, path: tuple[int | str, ...] = ()) -> Iterator[tuple[int | str, ...]]:
    """Yield the paths of all numbers in a nested value."""
    if isinstance(value, list):
        for place, entry in enumerate(value):
            yield from _numbers(entry, (*path, place))
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from _numbers(entry, (*path, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def _replaced(value: object, path: tuple[int | str, ...], new: object) -> object:
    if not path:
        return new
    first, rest = path[0], path[1:]
    if isinstance(value, dict):
        return {key: _replaced(entry, rest, new) if key == first else entry for key, entry in value.items()}
    if isinstance(value, list):
        return [_replaced(entry, rest, new) if place == first else entry for place, entry in enumerate(value)]
    raise TypeError(f"{value!r} has no entry {first!r}")


def _words(path: tuple[int | str, ...]) -> str:
    return "".join(f"[{part!r}]" for part in path) or "its place"


def garbage_rules(entry_point: str) -> Iterator[tuple[str, str]]:
    """Yield rules that answer every call with something that is no answer: a name, and the program."""
    answers = (
        "None",
        "float('nan')",
        "'x'",
        "[]",
        "[float('nan')]",
        "{}",
        "[None] * 3",
        "[1e999] * 4",
        "[[1.0]]",
        "True",
    )
    for answer in answers:
        yield f"a rule that answers {answer}", f"def {entry_point}(*arguments):\n    return {answer}\n"
    yield "a rule that raises", f"def {entry_point}(*arguments):\n    raise ValueError('no')\n"
