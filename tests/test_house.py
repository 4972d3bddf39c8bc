"""Rules of the house that no linter knows."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path

from evolve.options import option_names

ROOT = Path(__file__).parents[1]
ROOMS = ("evolve", "database", "sandbox", "rl", "problems", "configs")


def test_every_test_states_its_claim():
    """A test without a docstring leaves the reader to guess what broke."""
    silent = [
        f"{file.name}:{node.name}"
        for file in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]

    assert silent == []


def test_no_file_holds_too_much():
    """A module that outgrows some 420 lines holds two ideas."""
    long = {
        str(file.relative_to(ROOT)): count
        for room in ROOMS
        for file in (ROOT / room).rglob("*.py")
        if (count := len(file.read_text(encoding="utf-8").splitlines())) > 420
    }

    assert long == {}


def test_every_option_is_read_somewhere():
    """An option that nothing reads is a lie to the user."""
    texts = "\n".join(
        file.read_text(encoding="utf-8")
        for file in (ROOT / "evolve").rglob("*.py")
        if "config" not in file.parts and file.name != "options.py"
    )
    names = [*option_names(), "engine.latency_s", "engine.url", "engine.key_file", "engine.retries", "engine.compile"]

    unread = [name for name in names if not re.search(rf"\.{name.split('.')[-1]}\b", texts)]

    assert unread == []


def test_no_foreign_package_shadows_a_room():
    """The top-level names are ours, whatever else is installed."""
    for room in ROOMS:
        spec = find_spec(room)
        assert spec is not None
        assert spec.origin is not None
        assert Path(spec.origin).parent == ROOT / room
