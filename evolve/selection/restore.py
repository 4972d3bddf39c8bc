"""From what a store holds to the population that goes on where it left off."""

import contextlib
import gc
from collections.abc import Iterator

from evolve.protocols import Store
from evolve.selection.population import Selection


def restore(selection: Selection, store: Store) -> None:
    """Take the population of a run into an empty selection.

    Args:
        selection: Of the run's own rule.
        store: The run's.
    """
    with _without_collector():
        selection.restore(store.members(), store.memberships(), steps=len(store.reports()) - 1)


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Switch Python's cyclic garbage collector off for a while.

    Millions of objects are made here that all stay, and it would look at every one of them again and again: a quarter
    of the time for a million programs.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
