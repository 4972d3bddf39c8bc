"""Reading what others publish."""

import json
import pickle

import numpy as np
import pytest

from problems.formats import plain, read_file, sign_rows, whole_numbers

ROWS = [[0.25, 0.5, 0.125], [0.75, 0.5, 0.25]]
CENTRES, RADII = [[0.25, 0.5], [0.75, 0.5]], [0.125, 0.25]


@pytest.mark.parametrize(
    "published",
    [
        ROWS,
        {"circles": ROWS},
        {"solution": {"circles": ROWS}, "score": 0.375},
        {"centers": CENTRES, "radii": RADII, "sum_radii": 9.0},
        {"centres": CENTRES, "radius": RADII},
        {"positions": CENTRES, "r": RADII},
        {"x": [0.25, 0.75], "y": [0.5, 0.5], "r": RADII},
        [CENTRES, RADII],
        [CENTRES, RADII, 0.375],
        [{"x": 0.25, "y": 0.5, "r": 0.125}, {"x": 0.75, "y": 0.5, "radius": 0.25}],
        {"circles": [{"center": centre, "radius": radius} for centre, radius in zip(CENTRES, RADII, strict=True)]},
    ],
)
def test_circles_are_found_in_every_spelling(published):
    """Rows, centres with radii, columns and mappings are one packing; figures beside them are ignored."""
    assert plain(published) == ROWS


@pytest.mark.parametrize("key", ["heights", "values", "f", "h", "a", "f_values", "coefficients", "construction"])
def test_a_list_under_a_known_name_is_unwrapped(key):
    """The published score beside it is not looked at."""
    assert plain({"C": 1.5, key: [1, 2.5], "n": 2}) == [1, 2.5]


def test_what_is_not_known_stays_what_it_is():
    """A shape of a problem's own, and malformed values, reach the verifier unchanged."""
    hexagons = {"hexagons": [[0.0, 0.0, 0.1]], "outer": [0.0, 0.0, 0.0]}

    for value in (hexagons, [], {}, None, 7, "++-", [1, 2], [[1], [2]], {"heights": 3}, [[[1]], 2], [[], []]):
        assert plain(value) == value


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("a.json", "[1, 2.5]", [1, 2.5]),
        ("a.json", "\ufeff[1]", [1]),
        ("a.dat", '{"heights": [1]}', {"heights": [1]}),
        ("a.csv", "x,y,r\n0.25,0.5,0.125\n0.75,0.5,0.25\n", ROWS),
        ("a.csv", "# by hand\n1;2\n3;4\n", [[1, 2], [3, 4]]),
        ("a.csv", "height\n1\n2.5\n", [1, 2.5]),
        ("a.csv", "1,2,3\n", [1, 2, 3]),
        ("a.txt", "0.1  0.2\n 0.3\t0.4\n", [[0.1, 0.2], [0.3, 0.4]]),
        ("a.txt", "+-\n++\n", ["+-", "++"]),
        ("a.txt", "+ -\n+ +\n\n", ["+-", "++"]),
        ("a.txt", " [[1, 2]]", [[1, 2]]),
    ],
)
def test_texts_are_read_as_their_suffix_and_content_say(name, text, value, tmp_path):
    """JSON, tables with and without a line of titles, and rows of signs."""
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")

    assert read_file(file) == value


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "[1,", "Expecting value"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.json", '{"construction":' * 600 + "[]" + "}" * 600, "nested too deeply"),
        ("a.txt", "[" * 66 + "]" * 66, "nested too deeply"),
        ("a.csv", "", "no numbers"),
        ("a.csv", "1,2\n3,four\n", "four"),
        ("a.txt", "+-x\n", "no numbers"),
        ("a.npy", "[1, 2]", "magic"),
    ],
)
def test_what_is_no_construction_is_refused(name, text, words, tmp_path):
    """Broken files end in one ValueError that says what is wrong."""
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")

    with pytest.raises(ValueError, match=words):
        read_file(file)


def test_arrays_are_read_exactly_and_nothing_is_unpickled(tmp_path):
    """A float64 comes back bit for bit; an array of objects, which could run code, is refused."""
    exact, objects = tmp_path / "exact.npy", tmp_path / "objects.npy"
    np.save(exact, np.array(ROWS))
    objects.write_bytes(b"")
    np.save(objects, np.array([{"a": 1}], dtype=object), allow_pickle=True)

    assert read_file(exact) == ROWS
    with pytest.raises(ValueError, match="objects"):
        read_file(objects)
    (tmp_path / "bare.npy").write_bytes(pickle.dumps([1.0]))
    with pytest.raises(ValueError, match="magic"):
        read_file(tmp_path / "bare.npy")
    np.save(tmp_path / "complex.npy", np.array([1j]))
    with pytest.raises(ValueError, match="none of numbers"):
        read_file(tmp_path / "complex.npy")


def test_an_array_that_promises_more_than_the_file_holds_is_refused(tmp_path):
    """The header of a few bytes cannot make the reader take terabytes of memory."""
    file = tmp_path / "huge.npy"
    np.save(file, np.zeros(4))
    file.write_bytes(file.read_bytes().replace(b"(4,), }" + b" " * 11, b"(400000000000,), }"))

    with pytest.raises(ValueError, match="mmap"):
        read_file(file)


def test_helpers_for_a_problems_own_reader():
    """Whole floats become ints at any depth, bools and others stay; sign matrices become rows of + and -."""
    assert json.dumps(whole_numbers([1.0, [2.5, [3.0]], True, "4"])) == '[1, [2.5, [3]], true, "4"]'
    assert sign_rows([[1.0, -1], [1, 1]]) == ["+-", "++"]
    assert sign_rows([[1, 0]]) == [[1, 0]]
    assert sign_rows("+-") == "+-"
