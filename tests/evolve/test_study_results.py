"""How a study's results are written when somebody reads, or another booking writes, at the same time."""

import fcntl
import json
import threading
from pathlib import Path

import pytest
from study_records import keep_record

from evolve.study.plan import Study, load_study
from evolve.study.results import write_results


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study of one arm and two seeds, of which the first run is finished."""
    file = tmp_path / "one.yaml"
    file.write_text(
        "budget: {completions: 8}\nseeds: [1, 2]\nproblems: {cap_set_6: {}}\narms: {plain: []}", encoding="utf-8"
    )
    found = load_study(file, tmp_path / "out")
    keep_record(found.cells[0])
    return found


def finished(study: Study) -> int:
    """Return how many runs the results are of."""
    tree = json.loads((study.folder / "results.json").read_text(encoding="utf-8"))
    return int(tree["runs"]["finished"])


def test_who_reads_results_while_they_are_written_reads_them_whole(study: Study) -> None:
    """New ones take the place of the old: a file that was opened before is whole, and stays what it was."""
    write_results(study)
    files = [study.folder / name for name in ("results.json", "results.md")]
    before = [file.read_text(encoding="utf-8") for file in files]
    keep_record(study.cells[1])
    with files[0].open(encoding="utf-8") as tree, files[1].open(encoding="utf-8") as page:
        write_results(study)
        assert [tree.read(), page.read()] == before

    assert finished(study) == 2
    assert "2 of 2 runs are finished" in files[1].read_text(encoding="utf-8")
    assert sorted(study.folder.glob("results*")) == files


def test_bookings_that_end_together_write_one_after_the_other(study: Study) -> None:
    """The later one waits, and its results are of what has ended meanwhile, too."""
    study.folder.mkdir(exist_ok=True)
    with (study.folder / "lock").open("w", encoding="utf-8") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        later = threading.Thread(target=write_results, args=(study,))
        later.start()
        later.join(timeout=1.0)
        assert later.is_alive()
        keep_record(study.cells[1])
    later.join(timeout=60.0)

    assert not later.is_alive()
    assert finished(study) == 2
