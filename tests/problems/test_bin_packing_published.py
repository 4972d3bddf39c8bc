"""On the published data sets known rules score what they score elsewhere."""

from pathlib import Path

import pytest

from benchmarks.bin_packing import RULES, data_sets, excess, rule_of

#: A clone of github.com/google-deepmind/funsearch beside this repository.
NOTEBOOK = Path(__file__).parents[3] / "funsearch" / "bin_packing" / "bin_packing.ipynb"


@pytest.mark.skipif(not NOTEBOOK.exists(), reason="needs a clone of google-deepmind/funsearch beside this repository")
@pytest.mark.parametrize(
    ("rule", "data_set", "percent"),
    [
        ("first fit", "OR3", 5.7406),
        ("best fit", "OR3", 5.3678),
        ("FunSearch, OR", "OR3", 3.1064),
        ("best fit", "Weibull 5k", 3.9843),
        ("FunSearch, OR", "Weibull 5k", 3.0285),
    ],
)
def test_a_known_rule_has_its_known_excess(rule, data_set, percent):
    """To the four digits that the notebook's own functions give."""
    assert excess(data_sets(NOTEBOOK)[data_set], rule_of(RULES[rule])) == pytest.approx(percent, abs=5e-5)
