"""Do known rules score here what was published? `python -m benchmarks.bin_packing NOTEBOOK`.

NOTEBOOK is `bin_packing/bin_packing.ipynb` of github.com/google-deepmind/funsearch, which holds the data sets of the
paper (Nature 625, 2024): OR3, 20 instances of 500 items, and Weibull 5k, 5 instances. First fit, best fit and both
rules that FunSearch found play them with the problem's own player. The excess is that of the mean number of bins over
the mean lower bound, as in the paper, in percent.
"""

import ast
import json
import re
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from problems.bin_packing.verify import Instance, play
from problems.rules import LocalRule, Rule

FOLDER = Path(__file__).parents[1] / "problems" / "bin_packing"
RULES = {
    "first fit": FOLDER / "seed.py",
    "best fit": FOLDER / "known_rules" / "best_fit.py",
    "FunSearch, OR": FOLDER / "known_rules" / "funsearch_or.py",
    "FunSearch, Weibull": FOLDER / "known_rules" / "funsearch_weibull.py",
}
_DATA_SET = re.compile(r"datasets\['(?P<name>[^']+)'\] = (?P<value>\{.*\})")


def data_sets(notebook: Path) -> dict[str, list[Instance]]:
    """Return the notebook's instances by the name of their data set."""
    cells: list[dict[str, Any]] = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    found = {}
    for line in "".join("".join([*cell["source"], "\n"]) for cell in cells).splitlines():
        if (match := _DATA_SET.match(line)) is not None:
            found[match["name"]] = [
                Instance(family=match["name"], capacity=row["capacity"], items=tuple(row["items"]))
                for row in ast.literal_eval(match["value"]).values()
            ]
    return found


def rule_of(file: Path) -> Rule:
    """Return a rule as the player wants it; what a program returns as an array is a list there."""
    priority = runpy.run_path(str(file))["priority"]
    return LocalRule(lambda item, bins: np.asarray(priority(item, np.asarray(bins)), dtype=float).tolist())


def excess(instances: Sequence[Instance], rule: Rule) -> float:
    """Return the excess of the mean number of bins over the mean lower bound, in percent."""
    bins = sum(play(instances, rule))
    return 100 * (bins / sum(instance.lower_bound for instance in instances) - 1)


def main() -> None:
    """Print the table."""
    found = data_sets(Path(sys.argv[1]))
    print(f"{'excess in percent':>20} " + " ".join(f"{name:>12}" for name in found))
    for name, file in RULES.items():
        row = [excess(instances, rule_of(file)) for instances in found.values()]
        print(f"{name:>20} " + " ".join(f"{value:12.4f}" for value in row), flush=True)


if __name__ == "__main__":
    main()
