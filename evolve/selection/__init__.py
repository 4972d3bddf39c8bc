"""Step 1: which parent, and which programs beside it; one module a rule.

A selection holds the population of one run in memory: ids, scores and places, never texts. A draw is a pure function
of the population and of a seed, so that a step can be drawn again after a kill. No rule deletes a program: what is no
longer drawn from stays in the database.
"""

from evolve.selection.best_of_n import BestOfN
from evolve.selection.inspirations import Inspiration
from evolve.selection.map_elites import MapElites, MapElitesSettings
from evolve.selection.population import Selection, Settled, as_member
from evolve.selection.puct import Puct, PuctSettings
from evolve.selection.restore import restore
from evolve.selection.top_k import TopK
from evolve.selection.weighting import Weighting

__all__ = [
    "BestOfN",
    "Inspiration",
    "MapElites",
    "MapElitesSettings",
    "Puct",
    "PuctSettings",
    "Selection",
    "Settled",
    "TopK",
    "Weighting",
    "as_member",
    "restore",
]
