"""Pages as HTML: Jinja's environment, which escapes every value that is not our own markup."""

import datetime
from collections.abc import Callable

from jinja2 import Environment, PackageLoader, StrictUndefined

from evolve.dashboard.arms import spent
from evolve.dashboard.charts import line_chart, spark
from evolve.dashboard.texts import clock, number, percent, printable, shown


def environment() -> Environment:
    """Return the templates of this package with the filters that they use."""
    made = Environment(
        loader=PackageLoader("evolve.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., object]] = {
        "spent": spent,
        "clock": clock,
        "day": day,
        "number": number,
        "percent": percent,
        "printable": printable,
        "shown": shown,
        "words": words,
    }
    made.filters.update(filters)
    made.globals.update({"line_chart": line_chart, "spark": spark})
    return made


def words(name: object) -> str:
    """Return the name of an outcome for people.

    >>> words("timed_out")
    'timed out'
    """
    return str(name).replace("_", " ")


def day(seconds: float) -> str:
    """Return a moment, in seconds since the epoch, for people everywhere.

    >>> day(0)
    '1970-01-01 00:00 UTC'
    """
    return f"{datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC):%Y-%m-%d %H:%M} UTC"
