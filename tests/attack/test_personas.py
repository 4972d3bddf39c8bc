"""What holds between programs holds for other users too."""

from __future__ import annotations

import subprocess

import pytest
from attack.conftest import PERSONAS, ROOT, command_for, environment


@pytest.mark.parametrize("persona", PERSONAS[1:])
def test_what_holds_between_programs_holds_for(persona: str) -> None:
    """`test_between.py` passes as each user in each tier that the present one does not cover."""
    (path, _, tier), who = command_for(persona)
    options = ["-q", "-p", "no:cacheprovider", "-k", f"{tier} and not controller"]
    done = subprocess.run(
        [path, "-m", "pytest", *options, str(ROOT / "tests/attack/test_between.py")],
        env=environment("s"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        **who,
    )

    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
