"""Attacks on the answer and on what is left for the next program: rows 5, 33 to 44."""

from __future__ import annotations

from attack.case import Case

from sandbox import Ending
from sandbox.frame import FrameFault

ERROR = frozenset({Ending.ERROR})
ANY = frozenset(Ending)
MALFORMED = FrameFault.MALFORMED


def raw(row: int, name: str, expression: str, fault: FrameFault) -> Case:
    """Return a case whose program writes the bytes of `expression` as its answer."""
    source = (
        "import struct\n"
        "def header(text): return struct.pack('<4sI', b'EVR1', len(text)) + text\n"
        f"def solve(targets):\n    data = {expression}\n"
        "    while data: data = data[os.write(3, data):]\n    os._exit(0)\n"
    )
    return Case(row=row, name=name, source=source, endings=ANY, fault=fault)


def refused(row: int, name: str, expression: str) -> Case:
    """Return a case whose program returns a value that the encoder refuses."""
    source = f"import numpy as np\ndef solve(targets):\n    return {expression}\n"
    return Case(row=row, name=name, source=source, endings=ERROR, check=lambda answers: answers == ())


CASES = (
    raw(5, "an answer of 64 MiB", "header(b'[' + b'1,' * (32 << 20) + b'1]')", FrameFault.TOO_LARGE),
    Case(
        row=33,
        name="a forged answer on stdout",
        source="import struct\nos.write(1, struct.pack('<4sI', b'EVR1', 11) + b'{\"value\":1}')\nraise SystemExit(1)\n",
        endings=ERROR,
        check=lambda answers: answers == (),
    ),
    Case(
        row=34,
        name="a frame of its own, then exit",
        source=("import struct\nos.write(3, struct.pack('<4sI', b'EVR1', 11) + b'{\"value\":7}')\nos._exit(0)\n"),
        # It is data like any other answer: the verifier computes the score from it.
        check=lambda answers: answers == (7,),
    ),
    Case(row=35, name="no answer", source="os._exit(0)\n", check=lambda answers: answers == ()),
    Case(
        row=35,
        name="closed descriptors",
        source="os.closerange(0, 100)\ndef solve(targets): return 1\n",
        endings=ERROR,
        check=lambda answers: answers == (),
    ),
    Case(
        row=35,
        name="two answers to one call",
        source=(
            "import struct\n"
            "def solve(targets):\n"
            "    os.write(3, struct.pack('<4sI', b'EVR1', 11) + b'{\"value\":7}')\n"
            "    return 8\n"
        ),
        endings=ANY,
        # The second is taken for the answer to the next call: again, data.
        check=lambda answers: answers == (7, 8),
        calls=2,
    ),
    raw(36, "a pickle", "b'cos\\nsystem\\n(S\"touch /tmp/pickled\"\\ntR.'", MALFORMED),
    raw(36, "a pickle in a frame", "header(b'cos\\nsystem\\n(S\"touch /tmp/pickled\"\\ntR.')", MALFORMED),
    Case(
        row=37,
        name="patch everything",
        source=(
            "import json, math, builtins, numpy, random\n"
            "from sandbox import frame, frame_encode\n"
            "numpy.linalg.norm = json.dumps = math.isfinite = builtins.sum = frame.encode = lambda *a, **k: 42\n"
            "random.random = lambda: 0.5\n"
            "sys.settrace(lambda *a: None)\n"
            "sys.meta_path.insert(0, object())\n"
            "def solve(targets): return 1\n"
        ),
        endings=ANY,
        follow_up=(
            "import json, math, numpy, random\n"
            "def solve(targets):\n"
            "    return [json.dumps(1), math.isfinite(math.inf), sum([1, 2]), float(numpy.linalg.norm([3, 4])),\n"
            "            random.random() == 0.5, len(sys.meta_path) > 3]\n"
        ),
        check=lambda answers: answers[0][:5] == ["1", False, 3, 5.0, False],
    ),
    raw(38, "infinity by overflow", 'header(b\'{"value":[1,{"a":1e999}]}\')', FrameFault.NON_FINITE),
    raw(38, "NaN", "header(b'{\"value\":NaN}')", FrameFault.NON_FINITE),
    raw(38, "infinity", "header(b'{\"value\":-Infinity}')", FrameFault.NON_FINITE),
    raw(38, "an integer of 5000 digits", "header(b'{\"value\":' + b'9' * 5000 + b'}')", MALFORMED),
    raw(38, "200000 brackets", "header(b'[' * 200000)", MALFORMED),
    raw(
        38,
        "an array of 512 GiB",
        'header(b\'{"value":{"$nd":0},"arrays":[{"dtype":"f8","shape":[68719476736],"nbytes":549755813888}]}\')',
        FrameFault.TOO_LARGE,
    ),
    raw(
        38,
        "a billion empty rows",
        'header(b\'{"value":{"$nd":0},"arrays":[{"dtype":"f8","shape":[1000000000,0],"nbytes":0}]}\')',
        MALFORMED,
    ),
    Case(
        row=38,
        name="NaN in an array",
        source="import numpy as np\ndef solve(targets): return np.array([np.nan])\n",
        endings=ANY,
        fault=FrameFault.NON_FINITE,
    ),
    refused(
        39, "a float that lies", "type('Liar', (float,), {'__eq__': lambda s, o: True, '__lt__': lambda s, o: True})(1)"
    ),
    refused(39, "a list that lies", "type('Liar', (list,), {'__len__': lambda s: 26})()"),
    refused(39, "an array that lies", "np.zeros(3).view(type('Liar', (np.ndarray,), {'tolist': lambda s: [1]}))"),
    refused(39, "a numpy scalar that lies", "type('Liar', (np.float64,), {'item': lambda s: 99.0})(1)"),
    refused(39, "bytes", "b'x'"),
    refused(39, "an array of objects", "np.array([{}, []], dtype=object)"),
    Case(
        row=40,
        name="a thread that never ends",
        source=(
            "import atexit, threading\n"
            "atexit.register(time.sleep, 60)\n"
            "def solve(targets):\n"
            "    threading.Thread(target=time.sleep, args=(60,)).start()\n"
            "    return 1\n"
        ),
        check=lambda answers: answers == (1,),
        limits={"wall_s": 3},
    ),
    Case(row=40, name="sys.exit", source="sys.exit(0)\n", endings=ERROR),
    Case(
        row=41,
        name="SIGSYS by hand",
        source="os.kill(os.getpid(), signal.SIGSYS)",
        endings=frozenset({Ending.VIOLATION}),
    ),
    Case(
        row=41,
        name="SIGKILL by hand",
        source="os.kill(os.getpid(), signal.SIGKILL)",
        endings=frozenset({Ending.KILLED}),
    ),
    Case(row=41, name="a MemoryError by hand", source="raise MemoryError", endings=ERROR),
    Case(row=42, name="a syntax error", source="def solve(:", endings=ERROR),
    Case(row=42, name="5000 parentheses", source="x = " + "(" * 5000 + "1" + ")" * 5000, endings=ERROR),
    Case(
        row=42,
        name="100000 terms",
        source="x = " + "+".join("1" * 100000) + "\ndef solve(targets): return 1\n",
        endings=ANY,
    ),
    Case(
        row=43,
        name="random numbers of the one before",
        source="import random, numpy as np\ndef solve(targets): return [random.random(), np.random.rand()]\n",
        follow_up=(
            "import random, numpy as np\n"
            "def solve(targets): return [random.random(), np.random.rand(), np.random.default_rng().random()]\n"
        ),
        # Mersenne Twister of seed 1, as both generators document it: what came before leaves no trace.
        check=lambda answers: answers[0][0] == 0.13436424411240122 and answers[0][1] == 0.417022004702574,
    ),
    Case(
        row=44,
        name="honest work",
        source=(
            "import concurrent.futures, subprocess, tempfile\n"
            "import numpy as np, scipy.optimize, scipy.spatial\n"
            "def solve(targets):\n"
            "    found = scipy.optimize.minimize(lambda x: ((x - 3) ** 2).sum(), np.zeros(5), method='L-BFGS-B')\n"
            "    with concurrent.futures.ThreadPoolExecutor(4) as pool:\n"
            "        squares = list(pool.map(lambda x: x * x, range(9)))\n"
            "    said = subprocess.run(['/bin/echo', 'hello'], capture_output=True, text=True, check=True).stdout\n"
            "    with tempfile.NamedTemporaryFile('w+') as file:\n"
            "        file.write('kept')\n        file.seek(0)\n        kept = file.read()\n"
            "    hull = scipy.spatial.ConvexHull(np.random.default_rng(0).random((30, 2))).volume\n"
            "    return [round(float(found.x.sum()), 3), squares[-1], said, kept, hull > 0.5]\n"
        ),
        check=lambda answers: answers == ([15.0, 64, "hello\n", "kept", True],),
    ),
    Case(
        row=44,
        name="honest work in processes",
        source=(
            "import multiprocessing\n"
            "def square(x): return x * x\n"
            "def solve(targets):\n"
            "    with multiprocessing.Pool(3) as pool: return pool.map(square, range(5))\n"
        ),
        check=lambda answers: answers == ([0, 1, 4, 9, 16],),
        tiers=("full",),
    ),
)
