"""Each layer is needed: with it off, the suite fails. And weaker kernels get what they can carry."""

from __future__ import annotations

import json
import secrets
import subprocess

import pytest
from attack.conftest import PERSONAS, command_for, environment, outcomes

from sandbox import Ending, Job, Limits, SandboxError, SandboxUnavailable, Tier, open_sandbox
from sandbox.converse import converse
from sandbox.runner import Blueprint, start

PRELOAD = ("numpy",)
#: Persona and layer to attacks that only that layer stops.
NEEDED = {
    ("root full", "seccomp"): ("memory in files of no name", "user namespace", "locks on files that all may read"),
    ("root full", "limits"): ("disk by one file", "descriptors"),
    ("root full", "user"): ("hold privileges",),
    ("nobody full", "seccomp"): ("memory in files of no name", "user namespace"),
    ("nobody full", "user"): ("hold privileges",),
    ("nobody full", "limits"): ("disk by one file", "descriptors"),
    ("nobody lite", "seccomp"): ("memory in files of no name", "network"),
    ("nobody lite", "landlock"): ("read files", "change files outside", "look into other processes"),
    ("nobody lite", "limits"): ("disk by one file", "descriptors"),
    ("root lite", "seccomp"): ("network", "UNIX sockets of the host"),
    ("root lite", "landlock"): ("read files", "change files outside"),
    ("root lite", "user"): ("hold privileges",),
}


@pytest.mark.parametrize(("persona", "layer"), NEEDED, ids=lambda value: str(value).replace(" ", "-"))
def test_without_the_layer_its_attacks_succeed(persona: str, layer: str) -> None:
    """The suite notices that the layer is missing, so it would notice if it broke."""
    names = NEEDED[persona, layer]
    found = outcomes(persona, layer, ";".join(names))

    assert {name for name in names if found[name]["wrong"]} == set(names)


def test_in_tier_full_landlock_is_a_second_net() -> None:
    """Without Landlock alone, no attack of the suite succeeds in tier full: namespaces stop what it would stop.

    So no test can notice its absence there; that UNIX sockets are refused then instead is in `walls.py`.
    """
    names = ("read files", "write files", "change files outside", "kill others", "network", "UNIX sockets of the host")
    found = outcomes("root full", "landlock", ";".join(names))

    assert [found[name]["wrong"] for name in names] == [[]] * len(names)


@pytest.mark.parametrize("layer", ["seccomp", "landlock"])
def test_canaries_notice_a_missing_layer(layer: str) -> None:
    """A sandbox whose layer is silently absent refuses to start, and says what a program could do."""
    persona = "nobody lite"
    (path, _, tier), who = command_for(persona)
    code = (
        "import sys\n"
        "from sandbox import Tier\n"
        "from sandbox.runner import Blueprint, start\n"
        "start(Blueprint(tier=Tier.from_name(sys.argv[1]), preload=('numpy',), off=(sys.argv[2],)))\n"
    )
    done = subprocess.run(
        [path, "-c", code, tier, layer],
        env=environment(secrets.token_hex()),
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        **who,
    )

    assert "LayerMissing: canaries: a program could" in done.stderr


@pytest.mark.parametrize("abi", [0, 1, 2, 3, 4, 5, 6])
def test_tier_full_works_with_every_landlock(abi: int) -> None:
    """On older kernels tier full stands with what Landlock they have, and its canaries pass."""
    try:
        runner = start(Blueprint(tier=Tier.FULL, preload=PRELOAD, landlock_abi=abi))
    except SandboxError as error:
        if "canaries" in str(error):
            raise
        pytest.skip(str(error))
    with runner:
        job = Job(source="def solve():\n    open('f', 'w').write('x')\n    return 1", entry_point="solve", seed=0)

        assert converse(runner, job).answers == (1,)


def test_tier_lite_needs_a_landlock_with_scopes() -> None:
    """Before ABI 6 programs of one user could signal each other, so tier lite is refused by name."""
    (path, _, _), who = command_for("nobody lite")
    code = (
        "from sandbox import Tier\n"
        "from sandbox.runner import Blueprint, start\n"
        "start(Blueprint(tier=Tier.LITE, preload=('numpy',), landlock_abi=5))\n"
    )
    done = subprocess.run(
        [path, "-c", code], env=environment("s"), cwd="/", capture_output=True, text=True, check=False, **who
    )

    assert done.stderr.strip().endswith("LayerMissing: landlock: abi 5 of 6; Linux 6.12 or newer has it")


CONTAINER = """
import json, os, struct
from sandbox import Tier, linux, open_sandbox, seccomp, syscalls

KEPT = {0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31}  # capabilities of a container of Docker's
for number in range(41):
    if number not in KEPT and os.geteuid() == 0:
        linux.prctl(linux.PR_CAPBSET_DROP, number)
if os.geteuid() == 0:
    header = (linux.ctypes.c_uint32 * 2)(0x20080522, 0)
    low = sum(1 << number for number in KEPT)
    linux.check(linux.LIBC.capset(header, (linux.ctypes.c_uint32 * 6)(low, low, 0, 0, 0, 0)), "capset")
machine = os.uname().machine
table = syscalls.numbers(machine)
program = [(0x20, 0, 0, 0)]
for name in ("unshare", "mount", "setns", "pivot_root", "umount2", "mount_setattr"):
    program += [(0x15, 0, 1, table[name]), (0x06, 0, 0, 0x50001)]
program.append((0x06, 0, 0, 0x7FFF0000))
seccomp.install(b"".join(struct.pack("=HBBI", *each) for each in program), machine)
with open_sandbox(require=Tier.LITE, preload=("numpy",)) as sandbox:
    report = sandbox.report
    print(json.dumps([str(report.tier), report.missing, "REACHED" in report.canaries.values()]))
"""


@pytest.mark.parametrize("persona", ["root lite", "nobody lite"])
def test_a_container_that_forbids_namespaces_gets_tier_lite(persona: str) -> None:
    """With Docker's capabilities and without unshare and mount, the same call opens tier lite and says what is missing.

    A filter and a smaller capability set stand in for the container.
    """
    (path, _, _), who = command_for(persona)
    done = subprocess.run(
        [path, "-c", CONTAINER], env=environment("s"), cwd="/", capture_output=True, text=True, check=False, **who
    )
    assert done.stdout, done.stderr
    tier, missing, reached = json.loads(done.stdout)

    assert (tier, reached) == ("lite", False)
    assert missing[0].startswith("full: namespaces: ")


def test_lite_minus_without_root_forbids_processes_and_changes() -> None:
    """The weakest walled tier keeps programs from forking and from changing files, and says what it leaves open."""
    (path, _, _), who = command_for("nobody lite")
    code = (
        "import json\n"
        "from sandbox import *\n"
        "from sandbox.runner import Blueprint, start\n"
        "from sandbox.converse import converse\n"
        "with start(Blueprint(tier=Tier.LITE_MINUS, preload=('numpy',))) as runner:\n"
        "    source = 'import os\\ndef solve(): os.fork()'\n"
        "    played = converse(runner, Job(source=source, entry_point='solve', seed=0, limits=Limits()))\n"
        "    print(json.dumps([str(played.result.ending), dict(runner.report.canaries)]))\n"
    )
    done = subprocess.run(
        [path, "-c", code], env=environment("s"), cwd="/", capture_output=True, text=True, check=False, **who
    )
    ending, canaries = json.loads(done.stdout)

    assert ending == "error"
    assert {name for name, outcome in canaries.items() if outcome == "REACHED"} == {
        "read the controller's file",
        "read the controller's environment",
    }


def test_less_than_required_is_refused_in_one_line() -> None:
    """`require` is a promise: where it cannot be kept, opening fails with a line that names the layer."""
    with pytest.raises(SandboxUnavailable) as caught:
        open_sandbox(require=Tier.FULL, preload=("a_module_that_is_not_there",))

    assert "\n" not in str(caught.value)
    assert "a_module_that_is_not_there" in str(caught.value)


def test_tier_none_still_limits_time_and_memory() -> None:
    """Without any wall a program still cannot run for ever."""
    with start(Blueprint(tier=Tier.NONE, preload=PRELOAD)) as runner:
        job = Job(source="while True: pass", entry_point="solve", seed=0, limits=Limits(wall_s=0.3))

        assert converse(runner, job).result.ending is Ending.TIMEOUT
        assert runner.report.canaries["read the controller's file"] == "REACHED"


def test_personas_are_known() -> None:
    """Every persona that needs a layer is one that the suite runs as."""
    assert {persona for persona, _ in NEEDED} <= set(PERSONAS)
