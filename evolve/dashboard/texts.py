"""Texts as a page may show them. What a model wrote is never believed to be harmless, or short."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

#: The longest line that a page shows, in characters.
LINE_CHARS = 2000
#: The longest text that a page shows, in characters.
TEXT_CHARS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A text ready to be shown.

    Attributes:
        text: Without characters that change how others are shown.
        left_out: Characters of the original that are not shown.
    """

    text: str
    left_out: int


def printable(text: str) -> str:
    r"""Return the text with everything spelled out that a page or a terminal would obey instead of showing it.

    These are control characters, lone surrogates, and Unicode's formatting characters, of which the bidirectional ones
    make source code read as what it is not (CVE-2021-42574).

    >>> printable("a\tb\x1b[2J\u202ec")
    'a\tb\\x1b[2J\\u202ec'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_spelled, text))


def _spelled(character: str) -> str:
    if character in "\n\t" or character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")


def shown(text: str) -> Shown:
    """Return the text as a page shows it: printable, long lines cut, and cut itself when it is long."""
    lines: list[str] = []
    kept = length = 0
    for line in text.splitlines(keepends=True):
        if length + min(len(line), LINE_CHARS) > TEXT_CHARS:
            break
        body = line.rstrip("\r\n")
        cut = len(body) - LINE_CHARS
        lines.append(printable(body) if cut <= 0 else f"{printable(body[:LINE_CHARS])} … {cut:,} more characters")
        kept += len(line) - max(cut, 0)
        length += min(len(line), LINE_CHARS)
    return Shown(text="\n".join(lines), left_out=len(text) - kept)


def diff_lines(text: str) -> Iterator[tuple[str, str]]:
    """Yield the lines of a unified diff with their kind: "add", "drop", "place" or "same"."""
    kinds = {"+": "add", "-": "drop", "@": "place"}
    for number, line in enumerate(text.splitlines()):
        yield ("place" if number < 2 else kinds.get(line[:1], "same")), line


def number(value: float | None, digits: int = 6) -> str:
    """Return a number for people, with as many significant digits.

    >>> number(2.6359830849, 8), number(1234567.0), number(3.5e-9, 3), number(None)
    ('2.6359831', '1,234,567', '3.5e-9', '–')
    """
    if value is None:
        return "–"
    if value and not 1e-4 <= abs(value) < 1e15:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(exponent)}"
    whole = len(str(int(abs(value))))
    text = f"{value:,.{max(digits - whole, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def clock(seconds: float) -> str:
    """Return a duration for people.

    >>> clock(42.3), clock(125), clock(7322), clock(200000)
    ('42 s', '2 min 05 s', '2 h 02 min', '2 d 7 h')
    """
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole // 60 % 60:02} min"
    return f"{whole // 86400} d {whole // 3600 % 24} h"


def percent(part: float, whole: float) -> str:
    """Return a share for people.

    >>> percent(1, 3), percent(0, 0)
    ('33.3 %', '–')
    """
    return f"{100 * part / whole:.1f} %" if whole else "–"


def exact_gain(child: str, parent: str, sign: int) -> Decimal | None:
    """Return `sign * (child - parent)` of two exact decimals, None when one of them is none.

    >>> exact_gain("2.63598308490", "2.63598308497", 1)
    Decimal('-7E-11')
    """
    try:
        return sign * (Decimal(child) - Decimal(parent))
    except InvalidOperation:
        return None


def agreeing(score: str, record: str) -> tuple[str, str]:
    """Split a decimal into the digits that it shares with another one, and the rest.

    >>> agreeing("2.63598312", "2.63598308"), agreeing("2.5", "11.0")
    (('2.635983', '12'), ('', '2.5'))
    """
    same = 0
    if score.partition(".")[0] == record.partition(".")[0]:
        for left, right in zip(score, record, strict=False):
            if left != right:
                break
            same += 1
    return score[:same], score[same:]
