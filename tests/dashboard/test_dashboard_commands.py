"""The commands serve, report and compare: what they write, and one line for what a user can do wrong."""

import re
import socket
import sqlite3
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from dashboard_runs import TOKEN

from evolve.cli import call


def refused(capsys: pytest.CaptureFixture[str], code: int, words: list[str], *parts: str) -> None:
    """Assert the exit code and one line on standard error that holds `parts`."""
    assert call(words) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    for part in parts:
        assert part in lines[0]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["serve", "run=absent"], ["holds no run", "evolve run"]),
        (["serve", "runs=absent"], ["no folder absent", "runs=DIR"]),
        (["serve", "run=a", "runs=b"], ["exclude each other"]),
        (["serve", "port=http"], ["port=http", "number"]),
        (["serve", "port=70000"], ["65535"]),
        (["serve", "token=short"], ["token=", "8 or more"]),
        (["serve", "host=0.0.0.0"], ["host is no option"]),
        (["report"], ["run is missing"]),
        (["report", "run=absent"], ["holds no run"]),
        (["compare"], ["no run is named", "arm=NAME:DIR"]),
        (["compare", "arm=only-a-name"], ["arm=NAME:DIR,DIR"]),
        (["compare", "run=absent"], ["holds no run"]),
        (["compare", "runs=a", "run=b"], ["excludes"]),
        (["compare", "loud=yes"], ["run, runs, arm, against, to"]),
        (["compare", "run=a", "against=hours"], ["completions or minutes"]),
        (["compare", "loud"], ["key=value"]),
    ],
)
def test_wrong_words_are_refused_in_one_line(words, parts, capsys):
    """Each is named, with what would be right."""
    refused(capsys, 2, words, *parts)


def test_a_port_in_use_is_named_with_the_cure(runs, capsys):
    """Another server's port is not taken."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused(capsys, 2, ["serve", f"runs={runs}", f"port={port}"], f"port {port}", "port=N")


def test_a_database_of_another_version_is_left_alone(runs, tmp_path, capsys):
    """A newer and an older database are both refused with the cure, unread and unchanged."""
    for version, cure in (("9999", "install the newest"), ("0001", "evolve show")):
        folder = tmp_path / version
        folder.mkdir()
        for name in ("run.yaml", "run.json"):
            (folder / name).write_bytes((runs / "second" / name).read_bytes())
        with sqlite3.connect(folder / "evolve.db") as copy, sqlite3.connect(runs / "second" / "evolve.db") as source:
            source.backup(copy)
            copy.execute("update alembic_version set version_num = ?", (version,))
        copy.close()
        source.close()
        refused(capsys, 1, ["serve", f"run={folder}", "port=0"], version, cure)
        with sqlite3.connect(folder / "evolve.db") as after:
            assert after.execute("select version_num from alembic_version").fetchone() == (version,)
        after.close()


def test_without_the_extra_its_name_is_told(runs):
    """Where FastAPI or uvicorn is missing, one line says what to install."""
    code = "import sys; sys.modules['uvicorn'] = None; from evolve.cli import call; sys.exit(call(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "serve", f"runs={runs}", "port=0"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stderr.strip() == (
        "evolve serve: the dashboard needs the package 'uvicorn': pip install 'thetaevolve[dashboard]'"
    )


def test_a_report_is_one_file_that_needs_nothing_else(runs, tmp_path, capsys):
    """The HTML holds its pictures and loads nothing; the Markdown shows the same pictures from its folder."""
    assert call(["report", f"run={runs / 'first'}", f"to={tmp_path / 'out'}"]) == 0
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    markdown = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^]]*\]\((figures/\w+\.png)\)", markdown)

    assert "report.html" in capsys.readouterr().out
    assert pictures == ["figures/best.png", "figures/curves.png", "figures/steps.png"]
    assert all((tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    assert len(re.findall('src="data:image/png;base64,', html)) == 3
    assert re.findall(r'(?:src|href)="(?!data:)', html) == []
    assert "<script" not in html
    for text in (html, markdown):
        assert "16 completions in 2 steps" in text
        assert "0.065] for k in range(n)" in text
        assert "2.63598308491760778318656948544" in text


def test_a_report_of_a_learning_run_shows_what_it_learned(runs, tmp_path):
    """The learner's figures are one more picture, in both forms."""
    assert call(["report", f"run={runs / 'made-up'}", f"to={tmp_path}"]) == 0

    assert "](figures/learning.png)" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count("data:image/png") == 4


def test_arms_are_drawn_as_png_and_svg(runs, tmp_path, capsys):
    """Runs are grouped by what they differ in, or by the user's own words, each once; both pictures show the same."""
    one = [f"run={runs / name}" for name in ("first", "second", "first")]
    arms = [
        f"arm=early:{runs / 'first'},{runs / 'second' / '..' / 'first'}",
        f"arm=late:{runs / 'second'},{runs / 'made-up'}",
    ]
    for words, names in ((one, ["recorded completions"]), (arms, ["early", "late"])):
        assert call(["compare", *words, f"to={tmp_path}"]) == 0
        out = capsys.readouterr().out
        assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")
        assert ET.parse(tmp_path / "compare.svg").getroot().tag.endswith("svg")
        assert all(f"{name}: " in out for name in names)
    assert "early: 1 runs" in out
    assert "late: 2 runs" in out
    assert call(["compare", *one, "against=minutes", f"to={tmp_path}"]) == 0
    assert re.search(r": 2 runs, after \d+:\d\d\.\d minutes median", capsys.readouterr().out)
    assert b"minutes" in (tmp_path / "compare.svg").read_bytes()


def test_a_report_that_cannot_be_written_says_where(runs, tmp_path, capsys):
    """A file in the way is named, with the cure."""
    (tmp_path / "file").write_text("in the way", encoding="utf-8")

    refused(capsys, 2, ["report", f"run={runs / 'first'}", f"to={tmp_path / 'file' / 'out'}"], "cannot write", "to=DIR")
    refused(
        capsys, 2, ["compare", f"run={runs / 'first'}", f"to={tmp_path / 'file' / 'out'}"], "cannot write", "to=DIR"
    )


def test_the_package_brings_its_pages_along(address):
    """Templates, scripts and style sheets lie in the package, so that a wheel has them; nothing is built."""
    folder = Path(sys.modules["evolve"].__file__ or "").parent / "dashboard"

    assert {file.suffix for file in (folder / "static").iterdir()} == {".css", ".js", ".svg"}
    assert (folder / "templates" / "base.html").exists()
    texts = "".join(file.read_text(encoding="utf-8") for file in (folder / "static").iterdir())
    assert "http://" not in texts.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in texts
    assert TOKEN not in texts
