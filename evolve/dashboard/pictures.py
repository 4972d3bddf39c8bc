"""Pictures of constructions as PNG, drawn when they are asked for and kept for a while."""

import hashlib
import io
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path

from PIL import Image

from evolve.dashboard.catalog import OpenRun
from evolve.report import draw_construction
from evolve.types import Evaluation, Problem, ProblemKind

#: The widest side of a small picture, in pixels.
SMALL = 200
#: The widest side of a large one.
LARGE = 900
#: Pictures kept, small and large together; some 20 kB each.
KEPT = 400


class Pictures:
    """Draws one picture at a time, for drawing takes 0.2 s of a core, and answers a second question from memory.

    What is kept stands for a construction, not for a program: a run may be made anew in the folder of another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._drawn: OrderedDict[tuple[Path, bytes, int], bytes | None] = OrderedDict()

    def png(self, run: OpenRun, program_id: int, *, size: int) -> bytes | None:
        """Return the picture of a program's best construction, None when there is none.

        Args:
            run: Where the program is.
            program_id: Of the program.
            size: The widest side, in pixels.
        """
        evaluation = best_of(run, program_id)
        if evaluation is None or evaluation.construction is None:
            return None
        construction = hashlib.sha256(evaluation.construction.encode("utf-8", "surrogatepass")).digest()
        key = (run.problem.folder, construction, size)
        with self._lock:
            if key not in self._drawn:
                self._drawn[key] = draw_png(run.problem, evaluation, size=size)
                if len(self._drawn) > KEPT:
                    self._drawn.popitem(last=False)
            return self._drawn[key]


def can_draw(problem: Problem) -> bool:
    """Return whether constructions of the problem have pictures."""
    return problem.kind is ProblemKind.CONSTRUCTION and (problem.folder / "picture.py").exists()


def best_of(run: OpenRun, program_id: int) -> Evaluation | None:
    """Return a program's evaluation with the best construction, None when none of them is valid."""
    check = run.confirmations().get(program_id)
    runs = [*run.views.evaluations(program_id), *(() if check is None else check.evaluations)]
    scored = [(each, each.score) for each in runs if each.score is not None]
    return max(scored, key=lambda pair: run.problem.direction.rank(pair[1]), default=(None, 0.0))[0]


def draw_png(problem: Problem, evaluation: Evaluation, *, size: int) -> bytes | None:
    """Return the picture of a construction, None when the problem draws none.

    Args:
        problem: Whose picture.py draws.
        evaluation: A valid one.
        size: The widest side, in pixels.
    """
    if not can_draw(problem) or evaluation.construction is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture.png"
        if not draw_construction(problem, evaluation.construction, file):
            return None
        with Image.open(file) as image:
            image.thumbnail((size, size))
            buffer = io.BytesIO()
            image.convert("RGB").quantize(96).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
