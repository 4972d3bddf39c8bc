"""Who attacks: root and nobody, in tiers full and lite, each in a process of its own."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from attack.world import SECRET_NAME

ROOT = Path(__file__).parents[2]
NOBODY = 65534
PERSONAS = ("root full", "root lite", "nobody full", "nobody lite")


def packages() -> str:
    """Return the folder that numpy and scipy are installed in."""
    spec = find_spec("numpy")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parents[1])


def environment(secret: str) -> dict[str, str]:
    """Return the environment of a driver: it has the secret that programs look for."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), packages()])
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", SECRET_NAME: secret}


@cache
def interpreter(uid: int | None) -> str | None:
    """Return an interpreter of this version that user `uid` can run with numpy; None stands for the current user."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    base = getattr(sys, "_base_executable", sys.executable)
    for path in (base, f"/usr/local/bin/{version}", f"/usr/bin/{version}"):
        command = [path, "-c", "import numpy, scipy.optimize, sandbox"]
        try:
            done = subprocess.run(
                command, env=environment(""), check=False, capture_output=True, cwd="/", timeout=60, **identity(uid)
            )
        except OSError:
            continue
        if done.returncode == 0:
            return path
    return None


def identity(uid: int | None) -> dict[str, Any]:
    """Return the arguments of `subprocess` that start a process as user `uid`."""
    return {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}


def command_for(persona: str) -> tuple[list[str], dict[str, Any]]:
    """Return interpreter and identity for a persona; skip the test where this machine has no such."""
    who, tier = persona.split()
    if who == "root" and os.geteuid() != 0:
        pytest.skip("needs root")
    uid = NOBODY if who == "nobody" and os.geteuid() == 0 else None
    # In tier lite, root's programs run as another user too.
    path = interpreter(NOBODY if os.geteuid() == 0 and persona != "root full" else None)
    if path is None:
        pytest.skip("no interpreter with numpy that other users can run")
    return [path, str(ROOT / "tests/attack/driver.py"), tier], identity(uid)


@cache
def outcomes(persona: str, off: str = "", chosen: str = "") -> dict[str, dict[str, Any]]:
    """Return the driver's line on each case, by the case's name."""
    command, who = command_for(persona)
    secret = secrets.token_hex()
    done = subprocess.run(
        [*command, off, chosen],
        env=environment(secret),
        cwd="/",
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        **who,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines, done.stderr
    assert lines[-1] == {"end": True}, done.stderr
    return {line["name"]: line for line in lines[:-1]}
