"""Two processes never work on one run folder, and the one that comes late changes nothing."""

import pytest

from evolve.errors import FolderInUseError, RunFolderError
from evolve.run_folder import existing_run_folder, new_run_folder


def test_who_comes_while_a_run_is_begun_leaves_it_alone(tmp_path):
    """The folder is made, and the run not written yet; neither the folder nor its lock goes away."""
    path = tmp_path / "run"
    with new_run_folder(path) as folder:
        (path / "evolve.db").touch()
        with pytest.raises(FolderInUseError, match="another process works on"), new_run_folder(path):
            pass
        assert (path / "evolve.db").exists()
        folder.write_run("problem: {}", 1)
        with pytest.raises(FolderInUseError), existing_run_folder(path):
            pass

    with existing_run_folder(path) as folder:
        assert folder.read_run() == ("problem: {}", 1)
    with pytest.raises(RunFolderError, match="go on with `evolve resume"), new_run_folder(path):
        pass


def test_a_run_that_was_never_written_leaves_no_folder(tmp_path):
    """What fails before it begins is as if it had not been tried."""
    with new_run_folder(tmp_path / "run"):
        (tmp_path / "run/evolve.db").touch()

    assert not (tmp_path / "run").exists()


def test_a_folder_that_was_there_before_stays(tmp_path):
    """With what lies in it, also when no run comes of it."""
    (tmp_path / "evolve.db").touch()
    with new_run_folder(tmp_path):
        pass

    assert (tmp_path / "evolve.db").exists()
