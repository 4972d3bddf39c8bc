"""How far apart two programs are."""

import ast
import random
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolve.distance import distance, tokens

WORDS = st.lists(st.sampled_from("abcd"), max_size=12)
DRESSED = '''
# first
def f(n):  # it's "f"
    """Say
    what."""
    'again'  # and again

    x = [n,
        'a#b']
    return x'''


def common(one, other):
    """Return the length of the longest common subsequence, as the textbook defines it."""

    @cache
    def of(i, j):
        if i == len(one) or j == len(other):
            return 0
        return 1 + of(i + 1, j + 1) if one[i] == other[j] else max(of(i + 1, j), of(i, j + 1))

    return of(0, 0)


@given(WORDS, WORDS)
def test_the_distance_is_that_of_the_textbook(one, other):
    """Tokens to delete and to insert, over the length of both."""
    total = len(one) + len(other)

    assert distance(one, other) == (pytest.approx(1 - 2 * common(one, other) / total) if total else 0.0)


@given(WORDS, WORDS)
def test_the_distance_is_symmetric_and_0_for_equals_alone(one, other):
    """It lies from 0 to 1 and does not depend on who is called the parent."""
    assert distance(one, other) == distance(other, one)
    assert 0 <= distance(one, other) <= 1
    assert (distance(one, other) == 0) == (one == other)


def test_sequences_longer_than_a_machine_word_are_compared_alike():
    """Of 1,000 different tokens 7 are replaced: 7 / 1,000."""
    one = [str(number) for number in range(1000)]
    other = list(one)
    for place in random.Random(0).sample(range(1000), 7):
        other[place] = "x"

    assert distance(one, other) == 7 / 1000


def test_comments_docstrings_and_layout_are_no_tokens():
    """A reply cannot move away from its parent by talking."""
    assert tokens(DRESSED) == tokens("def f(n):\n    x = [n, 'a#b']\n    return x\n")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("x = '''a\n# b'''", ("x", "=", "'''a\n# b'''")),
        ("x = r'\\\\' + b\"it's\"", ("x", "=", "r'\\\\'", "+", 'b"it\'s"')),
        ("x = 1.5 if a_b else 0x1F", ("x", "=", "1.5", "if", "a_b", "else", "0x1F")),
        ("x = [\n 'a',\n 'b']", ("x", "=", "[", "'a'", ",", "'b'", "]")),
        ('"""a""".strip()\ny = 1\n"""b"""', ('"""a"""', ".", "strip", "(", ")", "y", "=", "1")),
    ],
)
def test_strings_and_numbers_are_one_token(source, found):
    """Whatever they hold."""
    ast.parse(source)

    assert tokens(source) == found


@pytest.mark.parametrize(
    "template",
    [
        "DATA = ('0110100'\n        {row}\n        )",
        "DATA = [\n    {row}\n    # the rest\n    '1'\n]",
        "DATA = {{'a': (1, '['\n    {row}  # a row\n)}}",
        "DATA = '0110100' \\\n    {row}",
        "f(\n{row}\n)",
    ],
)
@pytest.mark.parametrize("quote", ["'", '"', "'''", '"""'])
def test_rows_of_data_are_tokens(template, quote):
    """A string that stands alone on a line but belongs to a statement is no docstring: other data, another program."""
    sources = [template.format(row=f"{quote}{row}{quote}") for row in ("1010011", "0000000")]
    for source in sources:
        ast.parse(source)
    one, other = map(tokens, sources)

    assert len(one) == len(other)
    assert sum(a != b for a, b in zip(one, other, strict=True)) == 1


def test_a_docstring_after_brackets_and_comments_is_no_token():
    """What stands in comments and strings opens no bracket and continues no line."""
    source = "x = ['(', {}]  # ( \\\n'''bare'''\ndef f(n=(1,)):  # [\n    'Say what.'\n    return n\n"
    ast.parse(source)

    assert tokens(source) == tokens("x = ['(', {}]\ndef f(n=(1,)):\n    return n\n")
