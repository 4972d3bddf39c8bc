"""The recorded completions of the runs that the dashboard is tested with."""

from pathlib import Path

TOKEN = "a-token-for-tests"
#: What a hostile model writes: markup, escape sequences, text that runs backwards, a line of a megabyte.
HOSTILE = (
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>\x1b[2J\x1b]0;owned\x07 "
    "\u202egnp.exe\u2066 {{ 7 * 7 }} </pre><h1>owned</h1>\n"
)
LONG_LINE = "0123456789" * 100_000


def packing(radius: float) -> str:
    """Return a reply with a program that packs 26 equal circles."""
    return (
        "A grid.\n```python\ndef pack(n):\n"
        f"    return [[(k % 6 + 0.5) / 6, (k // 6 + 0.5) / 6, {radius}] for k in range(n)]\n```\n"
    )


def replies(start: float) -> list[str]:
    """Return the completions of a run: better and better packings among failures of each kind."""
    texts = [packing(round(start + 0.001 * k, 4)) for k in range(16)]
    texts[1] = "I would rather not."
    texts[3] = "```python\ndef pack(n):\n    return 1 / 0\n```"
    texts[5] = packing(0.2)  # they overlap
    texts[6] = "```python\n" + f'def pack(n):\n    """{HOSTILE}"""\n    raise ValueError({HOSTILE!r})\n' + "```"
    texts[7] = HOSTILE + LONG_LINE
    return texts


def run_words(file: Path, folder: Path, *words: str) -> list[str]:
    """Return the words of `evolve run` on circles with recorded completions."""
    return [
        "run",
        "problem=circle_packing",
        "engine=scripted",
        f"engine.file={file}",
        "sandbox.require=none",
        "sandbox.workers=2",
        "rollout.late=0",
        "rollout.parents=2",
        "rollout.samples=4",
        "selection.islands=2",
        f"run.dir={folder}",
        *words,
    ]
