"""A population comes back from a store without the collector in its way."""

import gc

import pytest

from evolve.selection import BestOfN, restore


class OneProgram:
    """A store of a run that has nothing but its first step; it notes whether the collector was on when it was read."""

    def __init__(self, fault=None):
        self.fault = fault
        self.collected = None

    def members(self):
        """None, or the fault."""
        self.collected = gc.isenabled()
        if self.fault is not None:
            raise self.fault
        return []

    def memberships(self):
        """None."""
        return []

    def reports(self):
        """One, of whatever kind."""
        return [object()]


def test_the_collector_rests_while_a_population_is_restored():
    """And works again afterwards, also where reading fails; where it was off it stays off."""
    for store in (OneProgram(), OneProgram(LookupError("damaged"))):
        if store.fault is None:
            restore(BestOfN(), store)
        else:
            with pytest.raises(LookupError, match="damaged"):
                restore(BestOfN(), store)
        assert store.collected is False
        assert gc.isenabled()

    gc.disable()
    try:
        restore(BestOfN(), OneProgram())
        assert not gc.isenabled()
    finally:
        gc.enable()
