"""How a program ends is named rightly, with feedback that helps to mend it."""

from __future__ import annotations

import pytest

from sandbox import Ending

#: Processes that share 120 MiB in small pages, and have so many pages of zeros that it takes long to count them all.
SLOW_TO_COUNT = """
import ctypes, os, time
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
def fresh(size):
    place = libc.mmap(None, ctypes.c_size_t(size), 3, 0x22, -1, ctypes.c_long(0))
    libc.madvise(place, size, 15)  # no huge pages
    return place
def solve():
    shared = fresh(120 << 20)
    ctypes.memset(shared, 1, 120 << 20)
    gate = os.pipe()
    for _ in range(24):
        if os.fork() == 0:
            zeros = fresh(600 << 20)
            libc.madvise(zeros, 600 << 20, 22)  # read all
            os.read(gate[0], 1)
            for mib in range(COPIED_MIB):
                ctypes.memset(shared + (mib << 20), 2, 1 << 20)
                os.write(1, b".")
                time.sleep(0.03)
            os._exit(0)
    time.sleep(2)
    os.write(gate[1], bytes(24))
    return [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(24)]
"""


def test_a_good_program_answers_and_finishes(play):
    """One call, one answer, exit status 0."""
    played = play("def solve(x):\n    return x + 1", [41])

    assert played.answers == (42,)
    assert (played.result.ending, played.result.detail) == (Ending.FINISHED, "exit status 0")


def test_an_exception_is_an_error_with_the_programs_own_frames_and_lines(play):
    """The feedback shows where the program failed, and none of our frames."""
    played = play("import numpy as np\ndef solve():\n    return np.linalg.inv(np.zeros((2, 2)))")

    assert played.result.ending is Ending.ERROR
    assert played.result.detail == "numpy.linalg.LinAlgError: Singular matrix"
    assert 'File "<candidate>", line 3, in solve\n    return np.linalg.inv(np.zeros((2, 2)))' in played.result.feedback
    assert "harness" not in played.result.feedback
    assert "site-packages" not in played.result.feedback


@pytest.mark.parametrize(
    ("source", "detail"),
    [
        ("def solve(:", "SyntaxError: invalid syntax"),
        ("answer = 1", "NameError: the program defines no function named 'solve'"),
        ("import sys\nsys.exit(0)", "SystemExit: 0"),
        ("def solve(): return {1, 2}", "TypeError: an answer may not hold builtins.set"),
        ("import os\nos._exit(3)", "exit status 3"),
        ("x = '\0'", "SyntaxError: source code string cannot contain null bytes"),
        ("\ud800", "SyntaxError: invalid syntax"),
    ],
)
def test_other_errors_are_named_in_one_line(play, source, detail):
    """Whatever stops the program before its peer is done is an error, and the detail says what it was."""
    result = play(source).result

    assert (result.ending, result.detail) == (Ending.ERROR, detail)


def test_a_program_that_hangs_is_ended_at_its_deadline(play):
    """The wall-clock limit holds even if every signal and exception is ignored."""
    source = (
        "import signal\n"
        "for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:\n"
        "    signal.signal(number, signal.SIG_IGN) if number < 32 else None\n"
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass\n"
    )
    result = play(source, wall_s=0.5).result

    assert (result.ending, result.detail) == (Ending.TIMEOUT, "wall time limit of 0.5 s")
    assert 0.5 <= result.usage.wall_s < 10


def test_processor_time_is_limited_over_the_whole_tree(play):
    """Two children share one budget."""
    source = "import os\nos.fork()\nwhile True: pass\n"
    result = play(source, wall_s=60, cpu_s=1).result

    assert (result.ending, result.detail) == (Ending.TIMEOUT, "processor time limit of 1 s")
    assert result.usage.wall_s < 30


def test_processor_time_of_children_that_nobody_waits_for_is_limited(play):
    """Children whose parent ignores their ends use the same budget, one after the other, and are in the usage."""
    source = (
        "import os, signal, time\n"
        "def solve():\n"
        "    signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "    for _ in range(8):\n"
        "        if os.fork() == 0:\n"
        "            while time.process_time() < 0.5: pass\n"
        "            os._exit(0)\n"
        "        try: os.wait()\n"
        "        except ChildProcessError: pass\n"
    )
    result = play(source, wall_s=60, cpu_s=2).result

    assert (result.ending, result.detail) == (Ending.TIMEOUT, "processor time limit of 2 s")
    assert 1.5 < result.usage.cpu_s < 3
    assert 3 < play(source, wall_s=60).result.usage.cpu_s < 4.5


def test_processor_time_of_children_is_counted_once(play):
    """What a parent has waited for is not counted again, even though each child was seen by itself."""
    source = (
        "import os, time\n"
        "def solve():\n"
        "    for _ in range(6):\n"
        "        if os.fork() == 0:\n"
        "            while time.process_time() < 0.3: pass\n"
        "            os._exit(0)\n"
        "        os.wait()\n"
    )
    result = play(source, wall_s=60, cpu_s=2.8).result

    assert result.ending is Ending.FINISHED
    assert 1.8 <= result.usage.cpu_s < 2.6


def test_touching_more_memory_than_the_limit_ends_the_program(play):
    """The memory limit has an ending of its own."""
    result = play("hoard = []\nwhile True: hoard.append(bytearray(1 << 20))", memory_mib=200).result

    assert (result.ending, result.detail) == (Ending.MEMORY, "memory limit of 200 MiB")
    assert result.usage.peak_memory_mib < 260


def test_memory_is_counted_over_the_whole_tree(play):
    """Three children, each below the limit, exceed it together."""
    source = (
        "import os, time\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0: break\n"
        "hoard = bytearray(100 << 20)\n"
        "time.sleep(20)\n"
    )
    assert play(source, memory_mib=250).result.ending is Ending.MEMORY


def test_a_tree_whose_memory_is_slow_to_count_is_ended_all_the_same(play):
    """Processes whose count takes long cannot use the time to copy what they share, far beyond the limit."""
    result = play(SLOW_TO_COUNT.replace("COPIED_MIB", "60"), wall_s=40.0, memory_mib=300).result

    assert result.ending is Ending.MEMORY
    assert 120 + len(result.stdout) < 450


def test_a_tree_whose_memory_is_slow_to_count_may_come_close_to_its_limit(play):
    """That it has to stand still while it is counted changes nothing but its pace."""
    played = play(SLOW_TO_COUNT.replace("COPIED_MIB", "4"), wall_s=60.0, memory_mib=300)

    assert played.answers == ([0] * 24,)
    assert len(played.result.stdout) == 24 * 4


def test_an_impossible_allocation_is_an_error_that_names_the_limit(play):
    """A MemoryError is what the program says of itself; it ends as any exception, with a hint."""
    result = play("import numpy as np\ndef solve(): return np.ones(1 << 32)", memory_mib=200).result

    assert result.ending is Ending.ERROR
    assert "200" in result.detail


def test_output_is_kept_up_to_its_limit_and_a_flood_ends_the_program(play):
    """The last bytes are kept; endless output is an ending of its own."""
    played = play("print('a' * 5000 + 'b' * 1024)\ndef solve(): return 1", output_kib=1)
    assert played.result.stdout == b"b" * 1023 + b"\n"

    flooded = play("while True: print('x' * 65536)")
    assert flooded.result.ending is Ending.OUTPUT_LIMIT
    assert len(flooded.result.stdout) == 64 << 10


def test_a_signal_is_named(play):
    """A crash in native code says which signal."""
    result = play("import ctypes\nctypes.string_at(8)").result

    assert (result.ending, result.detail) == (Ending.KILLED, "signal SIGSEGV")


def test_feedback_has_no_control_characters_and_at_most_2_kb(play):
    """What goes into a prompt is text, the end of it."""
    result = play("import sys\nsys.stderr.write('\\x1b[2J\\u202e' + 'x' * 5000)\nraise ValueError('last')").result

    assert result.feedback.endswith("ValueError: last\n")
    assert len(result.feedback) <= 2048
    assert not {"\x1b", "\u202e"} & set(result.feedback)


def test_usage_measures_the_tree(play):
    """Processor seconds, memory and processes of children count."""
    source = (
        "import os, time\n"
        "def solve():\n"
        "    if os.fork() == 0:\n"
        "        hoard = bytearray(50 << 20)\n"
        "        end = time.monotonic() + 0.4\n"
        "        while time.monotonic() < end: pass\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "    return 1\n"
    )
    usage = play(source).result.usage

    assert usage.wall_s >= 0.4
    assert 0.05 < usage.cpu_s < 2
    assert 45 < usage.peak_memory_mib < 120
    assert usage.peak_processes == 2
