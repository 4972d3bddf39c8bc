"""From replies to children."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolve.identity import identity
from evolve.parse import Child, ReplyFailure, functions_of, parse_reply, split_block, strip_thinking
from evolve.types import REPLY_FAILURES, Outcome

PARENT = """import math

# EVOLVE-BLOCK-START
def solve(n):
    total = 0
    for i in range(n):
        total += i
    return total
# EVOLVE-BLOCK-END

LIMIT = 3
"""


def parse(reply: str, parent: str = PARENT) -> Child | ReplyFailure:
    return parse_reply(reply, parent=parent, entry_point="solve", source_chars=2000)


def edit(search: str, replace: str) -> str:
    return f"<<<<<<< SEARCH\n{search}\n=======\n{replace}\n>>>>>>> REPLACE"


def test_a_rewrite_replaces_the_block_and_nothing_else():
    """What stands around the evolve block is the parent's, to the letter."""
    child = parse("Here:\n```python\ndef solve(n):\n    return n * (n - 1) // 2\n```\nDone.")

    assert isinstance(child, Child)
    assert child.source == (
        "import math\n\n# EVOLVE-BLOCK-START\ndef solve(n):\n    return n * (n - 1) // 2\n"
        "# EVOLVE-BLOCK-END\n\nLIMIT = 3\n"
    )


def test_a_rewrite_with_markers_may_repeat_what_is_around_the_block_but_not_change_it():
    """A whole file is taken when its fixed part is the parent's, and refused when it is not."""
    same = PARENT.replace("total = 0", "total = 1")
    other = same.replace("LIMIT = 3", "LIMIT = 4")

    taken, refused = parse(f"```python\n{same}```"), parse(f"```python\n{other}```")

    assert isinstance(taken, Child)
    assert taken.source == same
    assert isinstance(refused, ReplyFailure)
    assert refused.outcome is Outcome.OUTSIDE_BLOCK


HELPERS = """# EVOLVE-BLOCK-START
import math
import random
from functools import cache

SCALE = 2.0


@cache
def helper(x):
    \"\"\"Twice.\"\"\"
    spare = SCALE * x
    return spare


def spare(x):
    return random.random() * x


def solve(n):
    return helper(n)
# EVOLVE-BLOCK-END
"""


def test_a_rewrite_of_one_function_keeps_the_parents_others_that_it_calls():
    """With what these need in turn, in the parent's order, and without what nothing needs."""
    child = parse("```python\nimport math\n\ndef solve(n):\n    return helper(n) + math.pi\n```", HELPERS)

    assert isinstance(child, Child)
    assert child.source == (
        "# EVOLVE-BLOCK-START\nfrom functools import cache\n\nSCALE = 2.0\n\n"
        '@cache\ndef helper(x):\n    """Twice."""\n    spare = SCALE * x\n    return spare\n\n'
        "import math\n\ndef solve(n):\n    return helper(n) + math.pi\n# EVOLVE-BLOCK-END\n"
    )
    names = {}
    exec(child.source, names)  # what the parser made is a program
    assert names["solve"](1) == pytest.approx(2 + 3.14159265)


def test_functions_alone_take_the_place_of_the_parents():
    """The entry point stays, and with it what it still reads; what the old helper alone had read goes."""
    child = parse("```python\ndef triple(x):\n    return 3 * x\n\ndef helper(x):\n    return triple(x)\n```", HELPERS)

    assert isinstance(child, Child)
    assert child.source == (
        "# EVOLVE-BLOCK-START\ndef solve(n):\n    return helper(n)\n\n"
        "def triple(x):\n    return 3 * x\n\ndef helper(x):\n    return triple(x)\n# EVOLVE-BLOCK-END\n"
    )
    names = {}
    exec(child.source, names)
    assert names["solve"](2) == 6


def test_lines_are_counted_as_python_does():
    """A separator inside of a text ends a line for `str.splitlines` alone."""
    parent = HELPERS.replace("SCALE = 2.0", 'NAME = "a\u2028b"\nSCALE = 2.0')
    child = parse("```python\ndef solve(n):\n    return helper(n)\n```", parent)

    assert isinstance(child, Child)
    assert "SCALE = 2.0\n\n@cache\ndef helper(x):" in child.source


@pytest.mark.parametrize(
    "body",
    [
        "def helper(x):\n    return x\n\ndef solve(n):\n    return helper(n)",  # has its own
        "def solve(n):\n    helper = abs\n    return helper(n)",
        "def solve(n, helper=abs):\n    return helper(n)",
        "def solve(n):\n    return [helper for helper in range(n)]",
        "from math import sin as helper\n\ndef solve(n):\n    return helper(n)",
        "def solve(n):\n    return sum(range(n)) + nobody_knows(n)",  # not the parent's either
        "from __future__ import annotations\n\ndef solve(n):\n    return helper(n)",  # must stay first
    ],
)
def test_a_rewrite_that_lacks_nothing_of_its_parents_is_taken_as_it_is(body):
    """No line of the parent's comes in."""
    child = parse(f"```python\n{body}\n```", HELPERS)

    assert isinstance(child, Child)
    assert child.source == f"# EVOLVE-BLOCK-START\n{body}\n# EVOLVE-BLOCK-END\n"


def test_what_stands_around_the_block_is_not_taken_again():
    """The parent's `math` and LIMIT are outside of its block, and in the child anyway."""
    child = parse("```python\ndef solve(n):\n    return math.floor(LIMIT * n)\n```")

    assert isinstance(child, Child)
    assert child.source.count("import math") == child.source.count("LIMIT = 3") == 1


def test_imports_that_a_rewrite_forgot_are_added():
    """Those of the modules and functions that problems are solved with, each once and before all that reads them."""
    child = parse("```python\ndef solve(n):\n    return np.sum(linprog(np.ones(n), bounds=(1, 2)).x) + math.pi\n```")

    assert isinstance(child, Child)
    assert child.source.startswith(
        "import math\n\n# EVOLVE-BLOCK-START\nimport numpy as np\nfrom scipy.optimize import linprog\n\ndef solve(n):"
    )
    names = {}
    exec(child.source, names)
    assert names["solve"](2) == pytest.approx(2 + 3.14159265)


def test_the_parents_import_goes_before_one_that_is_guessed():
    """What `np` is, is the parent's to say, also where only a function taken from it needs it."""
    parent = HELPERS.replace("import math\n", "import math as np\n").replace("SCALE * x", "SCALE * np.floor(x)")
    child = parse("```python\ndef solve(n):\n    return helper(n) + random.random() * 0\n```", parent)

    assert isinstance(child, Child)
    assert "import math as np" in child.source
    assert "numpy" not in child.source


@pytest.mark.parametrize(
    "body",
    [
        "def solve(n):\n    scipy = n\n    return scipy",
        "def solve(n, time=1):\n    return n + time",
        "import numpy as np\n\ndef solve(n):\n    return np.sum(n)",
        "def solve(n):\n    return unknown(n)",
    ],
)
def test_no_import_is_guessed_that_is_not_missing(body):
    """A name that is bound is what the program says, and an unknown one stays unknown."""
    child = parse(f"```python\n{body}\n```")

    assert isinstance(child, Child)
    assert split_block(child.source)[1] == f"{body}\n"


def test_functions_of_a_block_are_found_by_name_and_whole():
    """Decorators belong to them; what is no function at the top level is none."""
    found = functions_of(HELPERS)

    assert list(found) == ["helper", "spare", "solve"]
    assert found["helper"] == '@cache\ndef helper(x):\n    """Twice."""\n    spare = SCALE * x\n    return spare'


def test_a_block_that_does_not_stand_for_itself_has_no_functions():
    """As the body of a class, whose methods no reply could give alone."""
    assert functions_of("class A:\n# EVOLVE-BLOCK-START\n    def f(self):\n        pass\n# EVOLVE-BLOCK-END\n") == {}


def test_edits_are_applied_in_order():
    """The second edit sees what the first one made."""
    child = parse(edit("    total = 0", "    total = 10") + "\n\n" + edit("    total = 10", "    total = 20"))

    assert isinstance(child, Child)
    assert "total = 20" in child.source


def test_white_space_is_forgiven_and_nothing_else():
    """An edit without its indentation, or with trailing blanks, finds its place; one with another word does not."""
    shifted = parse(edit("for i in range(n):\n    total += i", "total = sum(range(n))"))
    trailing = parse(edit("    total = 0   ", "    total = 5"))
    wrong = parse(edit("    total = zero", "    total = 5"))

    assert isinstance(shifted, Child)
    assert "\n    total = sum(range(n))\n    return total" in shifted.source
    assert isinstance(trailing, Child)
    assert isinstance(wrong, ReplyFailure)
    assert wrong.outcome is Outcome.NO_MATCH


def test_an_ambiguous_edit_is_refused():
    """Where the SEARCH text stands twice, nobody knows which place was meant."""
    parent = PARENT.replace("    return total", "    total += i\n    return total").replace(
        "        total += i", "    total += i"
    )

    failure = parse(edit("    total += i", "    total -= i"), parent)

    assert isinstance(failure, ReplyFailure)
    assert failure.outcome is Outcome.NO_MATCH
    assert "2 times" in failure.reason


def test_one_edit_that_fails_fails_them_all():
    """Half of a change is not what the model proposed."""
    failure = parse(edit("    total = 0", "    total = 7") + "\n" + edit("nowhere", "x"))

    assert isinstance(failure, ReplyFailure)
    assert failure.outcome is Outcome.NO_MATCH


def test_edits_may_grow_a_program_beyond_its_limit_only_a_little():
    """2000 characters are allowed: 3000 on the way are fine if the last edit takes them back, 5000 are given up."""
    for size, outcome in ((3000, None), (5000, Outcome.TOO_LONG)):
        long = f"    # {'x' * size}"
        child = parse(edit("    total = 0", long) + "\n" + edit(long, "    total = 1"))

        assert (child.outcome if isinstance(child, ReplyFailure) else None) is outcome


def test_an_edit_outside_the_block_is_refused():
    """The fixed part of a program is not the model's to change."""
    failure = parse(edit("LIMIT = 3", "LIMIT = 9"))

    assert isinstance(failure, ReplyFailure)
    assert failure.outcome is Outcome.OUTSIDE_BLOCK


def test_drafts_in_the_thinking_part_are_not_applied():
    """Only what follows the thinking part counts, whether the reply opened that part or the prompt did."""
    draft = "```python\ndef solve(n):\n    return 'draft'\n```"
    final = "```python\ndef solve(n):\n    return 'final'\n```"

    for reply in (f"<think>{draft}</think>{final}", f"{draft}</think>\n{final}"):
        child = parse(reply)
        assert isinstance(child, Child)
        assert "'final'" in child.source
    assert strip_thinking(f"<think>{draft}") == ""


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ("", Outcome.EMPTY),
        ("  \n ", Outcome.EMPTY),
        ("<think>only thoughts", Outcome.EMPTY),
        ("I cannot help with that.", Outcome.NO_CODE),
        ("```javascript\nlet x = 1\n```", Outcome.NO_CODE),
        ("<<<<<<< SEARCH\n    total = 0\n=======\n    total = 1\n", Outcome.NO_CODE),
        ("```python\ndef solve(n:\n```", Outcome.SYNTAX_ERROR),
        ("```python\ndef other(n):\n    return n\n```", Outcome.SYNTAX_ERROR),
        ("```python\ndef solve(n):\n    return '\x00'\n```", Outcome.SYNTAX_ERROR),
        ("```python\ndef solve(n):\n    return '\ud800'\n```", Outcome.SYNTAX_ERROR),
        ("```python\ndef solve(n):\n    return " + "(" * 900 + "1" + ")" * 900 + "\n```", Outcome.SYNTAX_ERROR),
        ("```python\ndef solve(n):\n    return '" + "x" * 5000 + "'\n```", Outcome.TOO_LONG),
        ("x" * 1_000_000, Outcome.NO_CODE),
        ("<" * 1_000_000, Outcome.NO_CODE),
        ("```\n" * 200_000, Outcome.SYNTAX_ERROR),
        ("```python" + "a" * 1_000_000, Outcome.NO_CODE),
        ("<think>" * 200_000, Outcome.EMPTY),
    ],
)
def test_replies_without_a_child_are_counted_by_kind(reply, outcome):
    """Each bad reply has its outcome and a reason; none raises, however long it is."""
    failure = parse(reply)

    assert isinstance(failure, ReplyFailure)
    assert failure.outcome is outcome
    assert failure.reason


def test_a_deep_but_legal_expression_is_refused_and_not_a_crash():
    """A sum of thousands of terms parses, but its tree cannot be walked."""
    terms = "+".join("1" for _ in range(900))
    failure = parse_reply(
        "```python\ndef solve(n):\n    return " + "+".join([terms] * 12) + "\n```",
        parent=PARENT,
        entry_point="solve",
        source_chars=100_000,
    )

    assert isinstance(failure, ReplyFailure)
    assert failure.outcome is Outcome.SYNTAX_ERROR


def test_of_ten_blocks_the_last_that_defines_the_entry_point_counts():
    """Models show snippets before and after the program they mean."""
    blocks = [f"```python\ndef solve(n):\n    return {i}\n```" for i in range(9)] + ["```python\nprint('usage')\n```"]

    child = parse("\n".join(blocks))

    assert isinstance(child, Child)
    assert "return 8" in child.source


def test_bare_code_and_an_unclosed_fence_are_read_as_code():
    """A model that forgets the fence, or stops before it closes it, still wrote a program."""
    for reply in ("def solve(n):\n    return 4", "```python\ndef solve(n):\n    return 4\n"):
        child = parse(reply)
        assert isinstance(child, Child)
        assert "return 4" in child.source


@given(st.text(alphabet=st.sampled_from("<>=# \n`abcSEARCHREPLACEdefsolve(n):python"), max_size=400))
def test_no_reply_raises(reply):
    """Whatever the reply, the parser returns a child or one of the outcomes of a bad reply."""
    child = parse(reply)

    assert isinstance(child, Child) or child.outcome in REPLY_FAILURES


@pytest.mark.parametrize(
    "reply",
    [
        "```python\n# EVOLVE-BLOCK-START\ndef solve(n):\n    return 4\n```",
        f"```python\n{PARENT}{PARENT}```",
        '```python\ndef solve(n):\n    return len("""\n# EVOLVE-BLOCK-END\n""")\n```',
        edit("    total = 0", "# EVOLVE-BLOCK-END\n    total = 4"),
    ],
)
def test_no_reply_moves_the_bounds_of_the_block(reply):
    """Bounds that a reply adds are left out: with a third one the child's child could change what is fixed."""
    child = parse(reply)

    assert isinstance(child, Child)
    assert split_block(child.source)[::2] == split_block(PARENT)[::2]


def test_a_huge_number_in_base_16_is_no_syntax_error():
    """Python compiles it, though it does not write it with more than 4300 digits; another one is another program."""
    one, other = (
        parse_reply(f"def solve(n):\n    return 0x{digit * 9000}", parent="", entry_point="solve", source_chars=9999)
        for digit in "ef"
    )

    assert isinstance(one, Child)
    assert isinstance(other, Child)
    assert one.identity != other.identity


def test_the_parts_of_a_source_join_to_the_source():
    """Splitting loses nothing; without exactly one block everything is in it."""
    assert "".join(split_block(PARENT)) == PARENT
    assert split_block("x = 1\n") == ("", "x = 1\n", "")
    assert split_block(PARENT + PARENT)[1] == PARENT + PARENT


SAME = "def solve(n):\n    return helper(n)\ndef helper(n):\n    return n + 1\n"


@pytest.mark.parametrize(
    "source",
    [
        "def solve(n):  # comment\n\n    return helper(n)\n\n\ndef helper(n):\n    return n + 1\n",
        'def solve(n):\n    """Doc."""\n    return helper(n)\ndef helper(n):\n    "other"\n    return (n + 1)\n',
        "def solve(n):\n    0\n    return helper(n)\ndef helper(n):\n    ...\n    return n + 1\n",
    ],
)
def test_cosmetic_changes_do_not_change_the_identity(source):
    """Comments, layout, docstrings and bare constants are no change of the program."""
    assert identity(ast.parse(source), entry_point="solve") == identity(ast.parse(SAME), entry_point="solve")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("spare = 1\ndef solve(n):\n    return n", "unused = 1\ndef solve(n):\n    return n"),
        ("import math\ndef solve(n):\n    return n", "import math as m\ndef solve(n):\n    return n"),
        # Which function comes first is no difference, as long as all that they need at once is there.
        (
            "import math\ndef helper(n, k=2):\n    return k * n\ndef solve(n: int) -> float:\n    return helper(n)",
            "import math\ndef solve(n: int) -> float:\n    return helper(n)\ndef helper(n, k=2):\n    return k * n",
        ),
        # Asking whether it is the main program is no look at its own names.
        (
            "spare = 1\ndef solve(n):\n    return n\nif __name__ == '__main__':\n    print(solve(1))",
            "unused = 1\ndef solve(n):\n    return n\nif __name__ == '__main__':\n    print(solve(1))",
        ),
    ],
)
def test_names_that_nothing_reads_do_not_change_the_identity(one, other):
    """Renaming what is never used is no change of the program."""
    assert identity(ast.parse(one), entry_point="solve") == identity(ast.parse(other), entry_point="solve")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def solve(n):\n    return n + 1", "def solve(n):\n    return n + 2"),
        ("def solve(n):\n    return n + 1", "def solve(n):\n    return n + 1.0"),
        ("def solve(n):\n    x = 1\n    x += n\n    return n", "def solve(n):\n    y = 1\n    x = n\n    return n"),
        (
            "class A:\n    def __add__(s, o):\n        return 1\ndef solve(n):\n    return A() + n",
            "class A:\n    def __sub__(s, o):\n        return 1\ndef solve(n):\n    return A() + n",
        ),
        # `_` is a name like others, so that no unread name may turn into it.
        ("def solve(n):\n    _ = 1\n    x = 2\n    return _", "def solve(n):\n    _ = 1\n    _ = 2\n    return _"),
        ('def solve(n):\n    "1"\n    return solve.__doc__', 'def solve(n):\n    "2"\n    return solve.__doc__'),
        (
            'def solve(n):\n    "1"\n    return getattr(solve, "__do" + "c__")',
            'def solve(n):\n    "2"\n    return getattr(solve, "__do" + "c__")',
        ),
        (
            'import pydoc\ndef solve(n):\n    "1"\n    return pydoc.getdoc(solve)',
            'import pydoc\ndef solve(n):\n    "2"\n    return pydoc.getdoc(solve)',
        ),
        ("a, b = 1, 2\ndef solve(n):\n    return eval('a')", "b, a = 1, 2\ndef solve(n):\n    return eval('a')"),
        (
            "a, b = 1, 2\ndef solve(n):\n    return globals()[chr(97)]",
            "b, a = 1, 2\ndef solve(n):\n    return globals()[chr(97)]",
        ),
        (
            "import sys\na, b = 1, 2\ndef solve(n):\n    return getattr(sys.modules['candidate'], 'a')",
            "import sys\nb, a = 1, 2\ndef solve(n):\n    return getattr(sys.modules['candidate'], 'a')",
        ),
        (
            "class A(B):\n  def run(self):\n    x()\n  def end(self):\n    y()\ndef solve(n):\n  return A()",
            "class A(B):\n  def end(self):\n    x()\n  def run(self):\n    y()\ndef solve(n):\n  return A()",
        ),
        # The evaluator of a task of its own may call more than the entry point.
        (
            "def solve(n):\n  return n\ndef one():\n  return 1\ndef two():\n  return 2",
            "def solve(n):\n  return n\ndef two():\n  return 1\ndef one():\n  return 2",
        ),
        (
            "@dataclass\nclass A:\n    x: int\n    y: int\ndef solve(n):\n    return astuple(A(x=1, y=2))",
            "@dataclass\nclass A:\n    y: int\n    x: int\ndef solve(n):\n    return astuple(A(x=1, y=2))",
        ),
        (
            "def solve(n):\n  @keep\n  def a(): return 9\n  @keep\n  def b(): return 1\n"
            "def keep(f):\n  table[f.__name__] = f",
            "def solve(n):\n  @keep\n  def b(): return 9\n  @keep\n  def a(): return 1\n"
            "def keep(f):\n  table[f.__name__] = f",
        ),
        (
            "import sys\na1, a2 = 3, 5\ndef solve(n):\n    return getattr(sys.modules[__name__], 'a' + str(n))",
            "import sys\na2, a1 = 3, 5\ndef solve(n):\n    return getattr(sys.modules[__name__], 'a' + str(n))",
        ),
        (
            "import __main__ as m\na1, a2 = 3, 5\ndef solve(n):\n    return getattr(m, 'a' + str(n))",
            "import __main__ as m\na2, a1 = 3, 5\ndef solve(n):\n    return getattr(m, 'a' + str(n))",
        ),
        (
            "import inspect\ndef solve(n):\n    return inspect.stack()[0].lineno",
            "import inspect\n\ndef solve(n):\n    return inspect.stack()[0].lineno",
        ),
        (
            "def solve(n):\n    return n\ndef solve(n):\n    return 2 * n",
            "def solve(n):\n    return 2 * n\ndef solve(n):\n    return n",
        ),
        (
            "def one():\n    return two()\ndef solve(n, k=one()):\n    return k\ndef two():\n    return 1",
            "def one():\n    return two()\ndef two():\n    return 1\ndef solve(n, k=one()):\n    return k",
        ),
        (
            "def other(n):\n    return n\ndef solve(n, by=other):\n    return by(n)",
            "def solve(n, by=other):\n    return by(n)\ndef other(n):\n    return n",
        ),
        (
            "@note\ndef one():\n    return 1\n@note\ndef solve(n):\n    return one()",
            "@note\ndef solve(n):\n    return one()\n@note\ndef one():\n    return 1",
        ),
        ("x = 1\ndef solve(n):\n    return x\nx = solve(0)", "def solve(n):\n    return x\nx = 1\nx = solve(0)"),
        (
            "def solve(n):\n    return n\ndef other(n):\n    return n",
            "def other(n):\n    return n\ndef solve(n):\n    return n + 0",
        ),
    ],
)
def test_changes_of_meaning_change_the_identity(one, other):
    """Two programs that may differ in what they do are two programs."""
    assert identity(ast.parse(one), entry_point="solve") != identity(ast.parse(other), entry_point="solve")
