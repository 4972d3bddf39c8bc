"""The command `evolve study`: arms side by side, over problems and seeds, at one budget; resumable.

`plan.py` reads the study's file, `booking.py` makes the runs, `figures.py` and `results.py` say what came of them.
`evolve compare` draws the runs of one problem again, and any other runs.
"""

import shlex
from collections.abc import Sequence
from dataclasses import replace

from evolve.errors import ConfigError, InputError
from evolve.session import Outside
from evolve.study.booking import Booked, book, is_finished
from evolve.study.plan import Study, is_machine_option, load_study
from evolve.study.results import write_results
from evolve.words import named_words, path_of

#: Seconds before the end of a booking from which on no step begins: one is still finished, and confirmations and
#: reports follow.
_RESERVE_S = 60.0


def study(words: Sequence[str], outside: Outside) -> int:
    """`evolve study`: make what is left of a study's runs, and write its results.

    Words that are no option of the command are options of all runs that depend on the machine, like sandbox.cpus=4-15.
    """
    asked = [word for word in words if not is_machine_option(word)]
    named, _ = named_words(asked, required=("file",), optional=("to", "minutes", "reserve"))
    file = path_of("file", named["file"])
    minutes = None if "minutes" not in named else _number("minutes", named["minutes"])
    reserve = _number("reserve", named["reserve"]) if "reserve" in named else _RESERVE_S
    if minutes is not None and 0 < 60 * minutes <= reserve:
        raise ConfigError(
            f"minutes={minutes:g} is over before a step may begin, for none begins in the last reserve={reserve:g} "
            "seconds: give more minutes than that, or a smaller reserve="
        )
    started = outside.clocks.monotonic()
    folder = path_of("to", named.get("to", f"studies/{file.stem}")).absolute()
    planned = load_study(file, folder, [word for word in words if is_machine_option(word)])
    until = None if minutes is None else started + 60 * minutes - reserve
    try:
        booked = book(planned, replace(outside, until=until))
    except KeyboardInterrupt:
        _say(outside, f"stopped; {_go_on(words)}")
        return 130
    except InputError:
        # No run can be made here, or beside those that are there; what these came to can be said all the same.
        if any(map(is_finished, planned.cells)):
            write_results(planned)
        raise
    write_results(planned)
    _report(planned, booked, outside, words)
    return 1 if booked.failed else 0


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ConfigError(f"{name}={text} is no time: it must be a number of at least 0")
    return value


def _report(planned: Study, booked: Booked, outside: Outside, words: Sequence[str]) -> None:
    for cell, reason in booked.failed.items():
        _say(outside, f"{cell} failed: {reason}")
    done = len(planned.cells) - booked.unfinished
    _say(outside, f"{done} of {len(planned.cells)} runs are finished; results: {planned.folder / 'results.md'}")
    if booked.in_use:
        _say(outside, f"left to other processes, which are making them: {booked.in_use}")
    if booked.unfinished:
        _say(outside, _go_on(words))


def _go_on(words: Sequence[str]) -> str:
    """Return the command that goes on: the one that was given, but for a time in which no run is made."""
    making = [word for word in words if not _is_no_time(word)]
    return f"go on with: {shlex.join(['evolve', 'study', *making])}"


def _is_no_time(word: str) -> bool:
    name, _, value = word.partition("=")
    return name == "minutes" and float(value) == 0


def _say(outside: Outside, text: str) -> None:
    outside.console.print(text, highlight=False, markup=False, soft_wrap=True)
