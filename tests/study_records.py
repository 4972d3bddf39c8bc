"""Records of runs that nobody made, for tests of what a study does with them."""

from pathlib import Path
from typing import Any

from evolve.study.figures import RunFigures
from evolve.study.plan import Cell
from evolve.study.record import Record, write_record


def keep_record(cell: Cell, **figures: Any) -> Path:
    """Write the record of a finished run into its folder of a study, and return the file."""
    usual: dict[str, Any] = {"seed": cell.seed, "completions": 8, "tokens": 80, "best": 3.0, "exact": None}
    usual |= {
        "valid": 0.5,
        "improved": 0.25,
        "distinct": 0.75,
        "active_s": 2.0,
        "curve": [(0.0, 0, 1.0), (1.5, 4, 3.0)],
    }
    record = Record(
        config=cell.config,
        fingerprint=cell.fingerprint,
        machine=dict.fromkeys(("platform", "gpu", "python", "thetaevolve"), "one"),
        figures=RunFigures(**usual | figures),
        program=None,
    )
    cell.folder.mkdir(parents=True)
    write_record(cell, record)
    return cell.folder / "figures.json"
