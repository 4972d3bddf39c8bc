"""What a rewrite keeps of its parent."""

import textwrap

import pytest

from evolve.parse import Child, ReplyFailure, parse_reply


def parse(code: str, parent: str, entry_point: str = "solve") -> Child | ReplyFailure:
    reply = f"```python\n{textwrap.dedent(code)}\n```"
    return parse_reply(reply, parent=textwrap.dedent(parent), entry_point=entry_point, source_chars=5000)


def run(child: Child | ReplyFailure, *arguments: object, entry_point: str = "solve") -> object:
    """Return what the child's entry point returns."""
    assert isinstance(child, Child), child
    names: dict[str, object] = {}
    exec(child.source, names)
    function = names[entry_point]
    assert callable(function)
    return function(*arguments)


SCORED = """
def score(values):
    return sum(values)

def solve(n):
    return score([n, n])
"""


def test_an_argument_called_like_the_entry_point_is_not_the_entry_point():
    """The parent's is kept where a function of the rewrite merely has an argument, or a variable, of that name."""
    for code in ("def score(solve):\n    return max(solve)", "def score(v):\n    solve = max(v)\n    return solve"):
        assert run(parse(code, SCORED), 7) == 7


def test_a_local_variable_does_not_hide_the_parents_helper_from_another_function():
    """What one function calls its variable, another may call of the parent's."""
    code = """
    def spread(values):
        score = max(values) - min(values)
        return score

    def solve(n):
        return score([n, 1]) + spread([n, 1])
    """

    assert run(parse(code, SCORED), 7) == 8 + 6


def test_a_local_variable_does_not_stand_for_a_forgotten_import():
    """A module that one function reads is imported though another has a variable of its name."""
    code = "def first(math):\n    return math\n\ndef solve(n):\n    return first(math.floor(n))"

    assert run(parse(code, SCORED), 7.5) == 7


@pytest.mark.parametrize(
    "filling",
    [
        "for k in range(5):\n    TABLE[k] = k * k",
        "k = 0\nwhile k < 5:\n    TABLE[k] = k * k\n    k += 1",
        "if TABLE == {}:\n    TABLE.update({k: k * k for k in range(5)})",
        "TABLE.update({k: k * k for k in range(5)})",
        "TABLE |= {k: k * k for k in range(5)}",
        "TABLE[0] = 0\nTABLE[4] = 16",
        "TABLE.setdefault(4, [16]).append(3)\nTABLE[4] = TABLE[4][0]",
        "try:\n    TABLE[4] = unknown\nexcept NameError:\n    TABLE[4] = 16",
        "def fill(table):\n    table[4] = 16\n\nfill(TABLE)",
        "TABLE = {**TABLE, 4: 16}",
    ],
)
def test_what_fills_a_table_is_kept_with_it(filling):
    """All that binds or changes, at the parent's top level, what a rewrite reads comes with it, in its order."""
    parent = f"TABLE = {{}}\n{filling}\n\ndef other():\n    return 0\n\ndef solve(n):\n    return TABLE[n] + other()\n"
    child = parse("def solve(n):\n    return TABLE[n]", parent)

    assert run(child, 4) == 16
    assert "other" not in child.source


@pytest.mark.parametrize(
    "binding",
    [
        "if True:\n    LIMIT = 3\nelse:\n    LIMIT = 4",
        "for LIMIT in range(4):\n    pass",
        "with open('/dev/null') as file:\n    LIMIT = len(file.read()) + 3",
        "try:\n    from nowhere import LIMIT\nexcept ImportError:\n    LIMIT = 3",
        "LIMIT, OTHER = 3, 4",
        "LIMIT: int = 3",
    ],
)
def test_a_name_that_a_block_statement_binds_is_kept(binding):
    """Whatever kind of statement gives the parent's name its value."""
    child = parse("def solve(n):\n    return LIMIT * n", f"{binding}\n\ndef solve(n):\n    return LIMIT + n\n")

    assert run(child, 5) == 15


def test_a_statement_that_only_reads_a_name_is_not_kept():
    """A parent's demonstration of itself does not come with the function that it calls."""
    main = "if __name__ == '__main__':\n    result = score([3])\n    math.floor(result)\n"
    parent = f"import math\n{SCORED}\n{main}\nprint(score([1]))\n"
    child = parse("def solve(n):\n    return math.floor(score([n]))", parent)

    assert run(child, 2) == 2
    assert "print" not in child.source


def test_what_the_parent_computes_with_a_function_is_computed_with_the_new_one():
    """A table stands after the function that fills it when that function, or one that it calls, is the rewrite's."""
    parent = """
    def square(k):
        return k * k

    def build():
        return [square(k) for k in range(5)]

    TABLE = build()
    SUM = sum(TABLE)

    def solve(n):
        return SUM + n
    """

    assert run(parse("def build():\n    return [1, 2, 3]", parent), 1) == 7
    assert run(parse("def square(k):\n    return k", parent), 1) == 11


def test_the_blocks_own_definition_goes_before_its_parents():
    """Nothing of the parent's comes in for a name that the rewrite's top level binds, in whatever kind of statement."""
    parent = "SCALE = 2\n\ndef solve(n):\n    return SCALE * n\n"
    for binding in ("for SCALE in (5,):\n    pass", "if True:\n    SCALE = 5", "import math as SCALE"):
        code = f"{binding}\n\ndef solve(n):\n    return SCALE"
        child = parse(code, parent)
        assert isinstance(child, Child)
        assert child.source == f"{code}\n"


def test_a_change_of_the_parents_value_brings_the_value():
    """A rewrite that only adds to a table of its parent's has not defined it."""
    parent = "TABLE = {1: 1}\nCOUNT = 1\n\ndef solve(n):\n    return TABLE[n] + COUNT\n"
    code = "TABLE[2] = 4\nCOUNT += 1\n\ndef solve(n):\n    return TABLE[1] + TABLE[n] + COUNT"

    assert run(parse(code, parent), 2) == 7


def test_what_stands_around_the_block_gets_the_functions_that_it_calls():
    """An entry point outside of the block is no part of a rewrite; the block's functions that it needs are kept."""
    parent = """
    # EVOLVE-BLOCK-START
    def radius(n):
        return 1

    def construct(n):
        return radius(n) + n
    # EVOLVE-BLOCK-END

    def solve(n):
        return construct(n)
    """

    assert run(parse("def radius(n):\n    return 10", parent), 5) == 15


def test_statements_that_share_a_line_are_kept_together():
    """Half a line would be no program."""
    parent = "SCALE = 2; SHIFT = (\n    3)\n\ndef solve(n):\n    return SCALE * n\n"

    assert run(parse("def solve(n):\n    return SCALE * n + 1", parent), 2) == 5
