"""Parts that need no program: values, slots, scratch folders, control groups, and the words for an ending."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from sandbox import Ending, Limits, Tier
from sandbox.cgroup import Groups
from sandbox.errors import SandboxFailure
from sandbox.evaluation import Observed, clean, decide
from sandbox.scratch import create, remove
from sandbox.slots import SLOTS, Slots
from sandbox.wire import Cause, Ended, Failed, Order, Setup, pack, unpack


@pytest.mark.parametrize("tier", list(Tier))
def test_tiers_are_known_by_name(tier: Tier) -> None:
    """Name and value go both ways, and the order is that of strength."""
    assert Tier.from_name(str(tier)) is tier
    assert [str(each) for each in sorted(Tier)] == ["none", "lite-minus", "lite", "full"]


def test_an_unknown_tier_is_refused_with_the_known_ones() -> None:
    """The message says what can be chosen."""
    with pytest.raises(ValueError, match="'strong'; choose one of none, lite-minus, lite, full"):
        Tier.from_name("strong")


@pytest.mark.parametrize(
    "limit", [{"wall_s": 0}, {"memory_mib": -1}, {"cpu_s": float("nan")}, {"wall_s": float("inf")}]
)
def test_limits_must_be_positive(limit: dict[str, float]) -> None:
    """A limit that limits nothing, or everything, is refused by name."""
    with pytest.raises(ValueError, match=next(iter(limit))):
        Limits(**limit)  # type: ignore[arg-type]


def ended(cause: Cause = Cause.EXIT, *, status: int = 0, cpu_s: float = 0.1) -> Ended:
    """Return a warden's report."""
    return Ended(cause=cause, status=status, wall_s=1.0, cpu_s=cpu_s, peak_bytes=0, peak_processes=1)


@pytest.mark.parametrize(
    ("report", "flooded", "out_of_memory", "ending"),
    [
        (ended(), False, False, Ending.FINISHED),
        (ended(status=1 << 8), False, False, Ending.ERROR),
        (ended(status=signal.SIGSYS), False, False, Ending.VIOLATION),
        (ended(status=signal.SIGSEGV), False, False, Ending.KILLED),
        (ended(status=signal.SIGKILL), False, False, Ending.KILLED),
        (ended(status=signal.SIGKILL), False, True, Ending.MEMORY),
        (ended(status=signal.SIGKILL, cpu_s=9.0), False, False, Ending.TIMEOUT),
        (ended(status=signal.SIGXCPU), False, False, Ending.TIMEOUT),
        (ended(status=signal.SIGXFSZ), False, False, Ending.OUTPUT_LIMIT),
        (ended(Cause.TIMEOUT, status=signal.SIGKILL), False, False, Ending.TIMEOUT),
        (ended(Cause.CPU, status=signal.SIGKILL), False, False, Ending.TIMEOUT),
        (ended(Cause.MEMORY, status=signal.SIGKILL), False, False, Ending.MEMORY),
        (ended(Cause.MEMORY, status=1 << 8), False, False, Ending.MEMORY),
        (ended(Cause.PROCESSES, status=signal.SIGKILL), False, False, Ending.KILLED),
        (ended(Cause.CANCELLED, status=signal.SIGKILL), True, False, Ending.OUTPUT_LIMIT),
        (ended(Cause.TIMEOUT, status=signal.SIGKILL), True, False, Ending.OUTPUT_LIMIT),
    ],
)
def test_the_first_ending_that_applies_wins(report: Ended, flooded: bool, out_of_memory: bool, ending: Ending) -> None:
    """The table of the README, row by row."""
    seen = Observed(ended=report, flooded=flooded, out_of_memory=out_of_memory, last_line="")

    assert decide(seen, Limits(cpu_s=8.0))[0] is ending


def test_detail_is_one_short_line() -> None:
    """What a program says of itself is cut and kept to one line."""
    seen = Observed(ended=ended(status=1 << 8), flooded=False, out_of_memory=False, last_line="x" * 5000)

    assert decide(seen, Limits())[1] == "x" * 200


def test_text_of_programs_loses_its_control_characters() -> None:
    """Nothing that moves a cursor or reorders text is left, and bad UTF-8 does no harm."""
    assert clean(b"a\x00\x1b[1m\xe2\x80\xae\x9bb\tc\r\n\xff") == "a[1m\ufffdb\tc\n\ufffd"


def test_slots_are_given_once_and_come_back() -> None:
    """Two holders never have one number, and a number is free again after its block."""
    slots = Slots(leased=False)
    with slots.take() as one, slots.take() as two:
        assert (one, two) == (0, 1)
    with slots.take() as again:
        assert again == 0


def test_slots_of_two_sandboxes_differ_where_the_ids_are_the_machines() -> None:
    """User ids of the machine are leased, so programs of two sandboxes never share one."""
    with Slots(leased=True).take() as one, Slots(leased=True).take() as two:
        assert one != two


def test_a_caller_beyond_the_last_slot_waits() -> None:
    """The caller goes on as soon as a slot is free."""
    slots = Slots(leased=False)
    holders = [slots.take() for _ in range(SLOTS)]
    for holder in holders:
        holder.__enter__()
    got: list[int] = []

    def take() -> None:
        with slots.take() as slot:
            got.append(slot)

    thread = threading.Thread(target=take)
    thread.start()
    thread.join(0.1)
    assert got == []
    holders[7].__exit__(None, None, None)
    thread.join(5)
    assert got == [7]


def test_a_scratch_folder_goes_whatever_is_in_it(tmp_path: Path) -> None:
    """Depth beyond any recursion, folders without permissions and links do not save it; what links point to stays."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    folder = create(str(tmp_path))
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d" * 60, dir_fd=descriptor)
        below = os.open("d" * 60, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.symlink(outside, "link", dir_fd=descriptor)
    os.mkdir("closed", 0, dir_fd=descriptor)
    os.close(descriptor)
    remove(folder)

    assert not Path(folder).exists()
    assert (outside / "kept").read_text() == "kept"


def test_packets_survive_the_wire() -> None:
    """What one process packs, another unpacks."""
    order = Order(entry_point="solve", seed=3, slot=4, limits=Limits(wall_s=2.5, cpu_s=1.0), cpu_budget_s=1.0)
    setup = Setup(
        tier=Tier.LITE,
        is_root=False,
        preload=("numpy",),
        roots=("/b", "/c"),
        control=5,
        controller=6,
        slots=7,
        scratch="/d",
        landlock_abi=6,
        off=("seccomp",),
    )

    assert Order.from_packet(order.to_packet()) == order
    assert Setup.from_json(setup.to_json()) == setup
    for notice in (Failed(detail="x"), ended(Cause.MEMORY)):
        assert unpack(pack(notice)) == notice


def test_a_group_writes_its_limits(tmp_path: Path) -> None:
    """Memory, swap and processes are limited, and all of the group dies together."""
    folder = tmp_path / "sandbox-1"
    folder.mkdir()
    group = Groups(folder).group(Limits(memory_mib=3, processes=5))
    (path,) = folder.iterdir()

    assert {file.name: file.read_text() for file in path.iterdir()} == {
        "memory.max": str(3 << 20),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "5",
    }
    (path / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 1\noom_kill 2\noom_group_kill 1\n")
    assert group.ran_out_of_memory()
    (path / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 0\noom_kill 0\n")
    assert not group.ran_out_of_memory()
    (path / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    group.look()
    assert group.joined


def test_a_group_that_is_gone_is_the_sandboxs_failure(tmp_path: Path) -> None:
    """No program is blamed for it."""
    with pytest.raises(SandboxFailure, match="no control group"):
        Groups(tmp_path / "gone").group(Limits())
