"""The command `evolve compare`: arms over their seeds, as a picture and a table."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console

from evolve.dashboard.arms import Against, Arm, compare_runs, group_by_arm, refuse_mixture, spent, target
from evolve.dashboard.catalog import Catalog, OpenRun, key_of
from evolve.dashboard.figures import draw_arms
from evolve.dashboard.texts import number, printable
from evolve.errors import ConfigError
from evolve.types import Problem
from evolve.words import path_of

#: Where the pictures go if the user does not say.
_TO = "compare"


def compare(words: Sequence[str], console: Console) -> int:
    """`evolve compare`: draw arms with bands over their seeds."""
    runs, named, arms, against, to = _read(words)
    with Catalog(runs=runs, only=[*named, *(folder for folders in arms.values() for folder in folders)]) as catalog:
        loose, unreadable = ([catalog.opened(folder) for folder in named], []) if runs is None else catalog.all()
        for each in unreadable:
            console.print(f"left out: {each.reason}", highlight=False, markup=False, soft_wrap=True)
        grouped: dict[str, list[OpenRun]] = {
            name: [catalog.opened(folder) for folder in folders] for name, folders in arms.items()
        }
        grouped |= group_by_arm(loose)
        refuse_mixture([run for group in grouped.values() for run in group])
        compared = compare_runs(grouped, against)
        if not compared:
            raise ConfigError(
                "none of the runs has finished a step: name others with run=DIR, runs=DIR or arm=NAME:DIR"
            )
        try:
            to.mkdir(parents=True, exist_ok=True)
            draw_arms(compared, to / "compare.png")
            draw_arms(compared, to / "compare.svg")
        except OSError as error:
            raise ConfigError(f"cannot write to {to}: {error.strerror}; name another folder with to=DIR") from error
        _print(compared, compared[0].problem, console)
    console.print(f"{to / 'compare.png'}, {to / 'compare.svg'}", highlight=False, markup=False, soft_wrap=True)
    return 0


def _read(words: Sequence[str]) -> tuple[Path | None, list[Path], dict[str, list[Path]], Against, Path]:
    """Return the folder of runs, single runs, arms with their runs, what is spent, and where to draw."""
    runs, against, to = None, Against.COMPLETIONS, Path(_TO)
    named: list[Path] = []
    arms: dict[str, list[Path]] = {}
    for key, value in _pairs(words):
        if key == "runs":
            runs = path_of(key, value)
        elif key == "run":
            named.append(path_of(key, value))
        elif key == "to":
            to = path_of(key, value)
        elif key == "arm":
            name, colon, folders = value.partition(":")
            if not colon or not name or not folders:
                raise ConfigError(f"arm={value} is no arm: it must look like arm=NAME:DIR,DIR")
            arms.setdefault(name, []).extend(path_of(key, folder) for folder in folders.split(","))
        elif key == "against":
            if value not in list(Against):
                raise ConfigError(f"against={value} is nothing that runs spend: it must be {' or '.join(Against)}")
            against = Against(value)
        else:
            raise ConfigError(f"{key} is no option here: it must be one of run, runs, arm, against, to")
    named, arms = _once(named), {name: _once(folders) for name, folders in arms.items()}
    if runs is not None and (named or arms):
        raise ConfigError("runs= excludes run= and arm=: name a folder of runs, or the runs")
    if runs is None and not named and not arms:
        raise ConfigError("no run is named: add runs=DIR, run=DIR for each run, or arm=NAME:DIR,DIR for each arm")
    return runs, named, arms, against, to


def _once(folders: Iterable[Path]) -> list[Path]:
    """Return each run's folder once, however it was written: a run that counted twice would be two seeds."""
    return list({key_of(folder): folder for folder in folders}.values())


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"{word!r} is no option: options look like key=value")
        yield key, value


def _print(arms: Sequence[Arm], problem: Problem, console: Console) -> None:
    aim = number(target(problem, arms), 8)
    for arm in arms:
        reached = ", ".join("never" if each is None else spent(each, arm.against) for each in arm.reached)
        median, worst, best = (number(score, 10) for score in (arm.median[-1], arm.final[-1], arm.final[0]))
        console.out(
            f"{printable(arm.name)}: {len(arm.final)} runs, after {spent(arm.xs[-1], arm.against)} {arm.against} "
            f"median {median}, worst {worst}, best {best}; {arm.against} to {aim}: {reached}",
            highlight=False,
        )
