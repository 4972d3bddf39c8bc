"""What runs may share their evaluations: those of a problem that judges by the same files."""

import shutil
from pathlib import Path

from database import open_database
from evolve.compose import Clocks, create_run
from evolve.options import parse_options
from evolve.run_folder import RunFolder

TASK = Path(__file__).parents[1] / "problems" / "openevolve_task"
CLOCKS = Clocks(monotonic=lambda: 0.0, wall=lambda: 0.0)


def fingerprint(task: Path, folder: Path) -> str | None:
    """Return what a new run of a task is known by."""
    folder.mkdir()
    config = parse_options(["problem=openevolve", f"problem.path={task}", "engine=scripted", "engine.file=none"])
    with open_database(f"sqlite:///{folder / 'evolve.db'}") as database:
        return create_run(config, RunFolder(folder), database, CLOCKS).record.fingerprint


def test_a_task_whose_data_changed_is_another(tmp_path):
    """A file that the evaluator may read, of any kind; with the old content it is the old one again."""
    task = tmp_path / "task"
    shutil.copytree(TASK, task)
    found = []
    for content in ("1,2\n", "1,3\n", "1,2\n"):
        (task / "points.csv").write_text(content)
        found.append(fingerprint(task, tmp_path / f"run-{len(found)}"))

    assert found[0] != found[1]
    assert found[0] == found[2]
