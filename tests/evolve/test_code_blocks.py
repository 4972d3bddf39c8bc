"""What the code blocks of a reply make together."""

import pytest

from evolve.parse import Child, ReplyFailure, check_source, functions_of, parse_reply
from evolve.types import Outcome
from problems import load_problem, problem_names

PARENT = """import numpy as np


def scale(x):
    return 2 * x


def radii(n):
    return scale(n)


def pack(n):
    return radii(n) + np.floor(0.5)
"""
RADII = "def radii(n):\n    return 10 * n"
PROGRAM = "def scale(x):\n    return 5 * x\n\ndef pack(n):\n    return scale(n)"


def parse(*blocks: str, parent: str = PARENT, source_chars: int = 5000) -> Child | ReplyFailure:
    """Return what a reply makes of the blocks, each with its label in its first line."""
    reply = "\n\nThen:\n\n".join(f"```{block}\n```" for block in blocks)
    return parse_reply(reply, parent=parent, entry_point="pack", source_chars=source_chars)


def python(*texts: str) -> list[str]:
    return [f"python\n{text}" for text in texts]


def run(child: Child | ReplyFailure, n: int = 1) -> float:
    assert isinstance(child, Child), child
    names: dict[str, object] = {}
    exec(child.source, names)
    pack = names["pack"]
    assert callable(pack)
    return float(pack(n))


@pytest.mark.parametrize(
    "demonstration",
    [
        "python\nresult = pack(26)\nprint(result)",
        "python\nimport numpy as np\nradii = np.zeros(3)\nprint(radii)",
        "python\nn = 26\nprint(f'{n} circles: {pack(n)}')",
        "python\nscale = pack(26)",
        "python\npack = pack",
        "python\npack = pack\nprint(pack(26))",
        "python\ndef main():\n    print(pack(26))\n\nmain()",
        "python\nassert pack(1) == 10",
        "\n2.5",
        "\n[0.1 0.2 0.3]",
        "\nscale = 2.5",
        "bash\npython pack.py",
    ],
)
@pytest.mark.parametrize(("code", "packed"), [(RADII, 10), (PROGRAM, 5)], ids=["function", "program"])
def test_a_demonstration_after_the_code_adds_nothing(code, packed, demonstration):
    """Neither to a function that is asked for alone, nor to a whole program."""
    child, alone = parse(*python(code), demonstration), parse(*python(code))

    assert run(child) == packed
    assert isinstance(child, Child)
    assert isinstance(alone, Child)
    assert child.source.split() == alone.source.split()


@pytest.mark.parametrize(
    "blocks",
    [
        python("result = pack(26)\nprint(result)"),
        python("import numpy as np"),
        python("import numpy as np", "print(pack(26))"),
        python("import numpy as np\n\ndef unread(n):\n    return n"),
        python("x = 3", "y = 4"),
    ],
)
def test_a_reply_that_changes_nothing_of_its_parent_is_no_child(blocks):
    """Else a copy would pass for a new program with its parent's score."""
    failure = parse(*blocks)

    assert isinstance(failure, ReplyFailure)
    assert failure.reason == "the program does not define pack()"


def test_a_helper_in_a_block_of_its_own_is_the_replys():
    """Before or after the entry point's block; the parent's of the same name is not taken."""
    helper, pack = "def scale(x):\n    return 7 * x", "def pack(n):\n    return scale(n)"

    assert run(parse(*python(helper, pack))) == 7
    assert run(parse(*python(pack, helper))) == 7
    # Also where only the parent's function between them calls it, and for a table that it fills.
    assert run(parse(*python(helper, "def pack(n):\n    return radii(n) + 1"))) == 8
    assert run(parse(*python("TABLE = {}\nTABLE[1] = 3", "def pack(n):\n    return TABLE[n]"))) == 3


def test_of_two_whole_programs_the_last_one_counts_alone():
    """A first draft is not mixed with what corrects it, but for what that one leaves out."""
    draft = "LIMIT = 3\n\ndef scale(x):\n    return 0\n\ndef old(x):\n    return 7\n\ndef pack(n):\n    return old(n)"
    child = parse(*python(draft, PROGRAM))
    shorter = parse(*python(draft, "def pack(n):\n    return old(n) + 1"))

    assert isinstance(child, Child)
    assert child.source == f"{PROGRAM}\n"
    assert run(shorter) == 8
    assert isinstance(shorter, Child)
    assert "LIMIT" not in shorter.source


def test_a_function_of_a_whole_program_that_is_written_again_is_the_last_one():
    """It stands in the place of the first one, so that nothing is computed with that one, and has what it needs."""
    program = f"from functools import cache\n\n@cache\n{PROGRAM}\n\nTOTAL = scale(1)  # at once"
    program = program.replace("return scale(n)", "return scale(n) + TOTAL")
    again = "import math\n\ndef scale(x):\n    return math.floor(shift(x))\n\ndef shift(x):\n    return x + 2"
    child = parse(*python(program, again))

    assert run(child) == 6
    assert isinstance(child, Child)
    assert child.source.count("def scale") == 1
    assert "# at once" in child.source


def test_an_excerpt_is_no_definition():
    """A function with a gap explains one that stands in another block."""
    for code, packed in ((RADII, 10), (PROGRAM, 5)):
        excerpt = "def scale(x):\n    ...\n    return x\n\ndef pack(n):\n    ...\n    return radii(n)"
        assert run(parse(*python(code, excerpt))) == packed


def test_functions_in_blocks_of_their_own_take_the_place_of_the_parents():
    """The entry point stays the parent's, and the last definition of a name counts."""
    child = parse(
        *python("def radii(n):\n    return 1", "def scale(x):\n    return 4 * x", "def radii(n):\n    return scale(n)")
    )

    assert run(child) == 4
    assert isinstance(child, Child)
    assert child.source.count("def radii") == 1


def test_a_labelled_block_goes_before_one_without_label():
    """What says that it is Python is meant as the program; what does not counts where nothing else defines a name."""
    other = RADII.replace("10", "99")

    assert run(parse(*python(RADII), f"\n{other}")) == 10
    assert run(parse(f"\n{other}", *python(RADII))) == 10
    assert run(parse(f"\n{other}")) == 99
    assert run(parse("\ndef shift(n):\n    return n + 1", *python("def radii(n):\n    return shift(n)"))) == 2


@pytest.mark.parametrize(
    ("blocks", "reason"),
    [
        (python("def radii(n:\n    return n"), "line 1"),
        ([*python("def radii(n:\n    return n"), "\n2.5"], "line 1"),
        ([*python("def radii(n:\n    return n"), "\n[0.1 0.2"], "'(' was never closed"),
        (python("def radii(n:\n    return n", "print(pack(3))"), "line 1"),
        (python("def scale(x):\n    return 3 * x", "def pack(n):\n    return scale("), "line 2"),
        (python("def radii(n, n):\n    return n"), "line 1: duplicate argument 'n' in function definition"),
    ],
)
def test_code_that_does_not_compile_is_named_as_the_reason(blocks, reason):
    """Not what is shown beside it; and half of what was proposed is no child."""
    failure = parse(*blocks)

    assert isinstance(failure, ReplyFailure)
    assert failure.outcome is Outcome.SYNTAX_ERROR
    assert reason in failure.reason


def test_a_broken_block_beside_a_whole_program_does_no_harm():
    """As one that was cut off, or what a model writes to explain itself."""
    for broken in ("def pack(n):\n    return scale(", "radii[i] = ... if"):
        assert run(parse(*python(PROGRAM, broken))) == 5
        assert run(parse(*python(broken, PROGRAM))) == 5


def test_a_program_that_is_too_long_is_told_so_though_there_are_other_blocks():
    """The helper beside it would be half of what was proposed."""
    long = f"def pack(n):\n    return scale(n)  # {'x' * 6000}"
    failure = parse(*python("def scale(x):\n    return 3 * x", long))

    assert isinstance(failure, ReplyFailure)
    assert failure.outcome is Outcome.TOO_LONG


def test_the_fixed_part_of_a_file_is_not_taken_from_another_block():
    """Of a block that repeats the whole file only what is between the markers is the reply's."""
    parent = f"LIMIT = 3\n# EVOLVE-BLOCK-START\n{PARENT}# EVOLVE-BLOCK-END\n"
    file = parent.replace("LIMIT = 3", "LIMIT = 4").replace("2 * x", "6 * x")
    child = parse(*python(file, "def pack(n):\n    return scale(n) + LIMIT"), parent=parent)

    assert run(child) == 9


@pytest.mark.parametrize(
    "blocks",
    [
        python(*["x = 1"] * 2000),
        python(*[f"def f{i}(): return f{i + 1}()" for i in range(1500)]),
        python(*[f"x{i} = x{i - 1}" for i in range(1500)], "def pack(n):\n    return x2999"),
        python(*["def pack(n):\n    return scale("] * 1500),
        python(*["("] * 2000),
        ["\n"] * 20_000,
    ],
    ids=["same", "chain", "tail", "broken", "open", "empty"],
)
def test_thousands_of_blocks_are_read_without_an_error(blocks):
    """Their number costs no more than their length does, and what they make is the same each time."""
    first, second = (parse(*blocks, source_chars=20_000) for _ in range(2))

    assert first == second


#: There the entry point reads nothing of the other function, which a copy of it alone leaves out.
READS_NOTHING = "sums_differences"


@pytest.mark.parametrize("name", sorted({*problem_names()} - {READS_NOTHING}))
def test_a_copy_of_one_function_is_no_new_program(name):
    """Whichever of the seed program's functions a reply repeats to the letter, a child is the seed program again."""
    problem = load_problem(name)
    limits = {"entry_point": problem.entry_point, "source_chars": problem.limits.source_chars}
    seed = check_source(problem.seed_source, *limits.values())
    assert isinstance(seed, Child)

    replies = [f"```python\n{text}\n```" for text in functions_of(problem.seed_source).values()]
    children = [parse_reply(reply, parent=problem.seed_source, **limits) for reply in replies]
    # A function that the entry point does not read makes none.
    assert {child.identity for child in children if isinstance(child, Child)} == {seed.identity}
