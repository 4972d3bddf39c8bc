"""Two processes never work on one run folder, and the one that comes late changes nothing."""

import pytest

from database import open_database
from database.dashboard import open_for_reading
from evolve.compose import open_run_database
from evolve.errors import FolderInUseError, RunFolderError
from evolve.options import parse_options
from evolve.run_folder import existing_run_folder, new_run_folder, read_run


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


def test_the_option_that_named_a_folder_is_the_cure(tmp_path):
    """A file is in the place, and the user said `to=`."""
    (tmp_path / "file").touch()

    with pytest.raises(RunFolderError, match="Not a directory; name another to="):
        new_run_folder(tmp_path / "file" / "run", option="to").__enter__()


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


@pytest.mark.parametrize("name", ["p%20y", "a?mode=memory", "%2e%2e", "josé #1 & +'", "sqlite:x@y"])
def test_a_database_lies_in_its_run_s_folder_whatever_the_folder_s_name(name, tmp_path):
    """What means something in a URL means nothing in a path, for what writes the database and for what reads it."""
    path = tmp_path / name
    with new_run_folder(path) as folder, open_database(folder.database_url) as database:
        assert (path / "evolve.db").is_file()
        with open_for_reading(folder.database_url):
            pass
        assert database.runs() == []

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", ['{"run_id": 1e999}', '{"run_id": 9223372036854775808}', '{"run_id": -1}', "[" * 100_000, "[1]", "{"]
)
def test_a_run_s_id_that_no_database_could_hold_is_refused(content, tmp_path):
    """Too large, without an end, or nested deeper than can be read: the folder holds no run."""
    (tmp_path / "run.yaml").touch()
    (tmp_path / "run.json").write_text(content, encoding="utf-8")

    with pytest.raises(RunFolderError, match="holds no run: name the folder"):
        read_run(tmp_path)


def test_a_name_that_no_folder_can_have_is_refused(tmp_path):
    """One line, as for a place that cannot be written."""
    with (
        pytest.raises(RunFolderError, match=r"File name too long; name another run\.dir="),
        new_run_folder(tmp_path / ("x" * 300)),
    ):
        pass


def test_how_to_go_on_with_a_run_is_quoted_for_a_shell(tmp_path):
    """The line can be copied, whatever the folder's name."""
    path = tmp_path / "a run"
    with new_run_folder(path) as folder:
        folder.write_run("problem: {}", 1)

    with pytest.raises(RunFolderError) as caught, new_run_folder(path):
        pass
    assert f"`evolve resume 'run={path}'`" in str(caught.value)


def test_the_database_of_a_run_that_was_begun_is_not_made_anew(tmp_path):
    """A missing one is told; a new run's is made."""
    config = parse_options(["problem=circle_packing"])
    with new_run_folder(tmp_path / "run") as folder:
        with open_run_database(config, folder) as database:
            assert database.runs() == []
        folder.write_run("problem: {}", 1)
        (folder.path / "evolve.db").unlink()

        with pytest.raises(RunFolderError, match="there is no database"), open_run_database(config, folder):
            pass
        assert not (folder.path / "evolve.db").exists()
