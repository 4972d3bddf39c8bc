"""Runs an OpenEvolve task's own evaluator on a child, both inside the sandbox; read as text, never imported.

`FILES` (path to bytes), `CHILD` (text), `SUFFIX`, `CASCADE` and `THRESHOLDS` are appended to this text. What OpenEvolve
offers an evaluator is here: a file with the child, the task's folder to import from, `EvaluationResult`, stages.
The process is the child's as much as the evaluator's, so nothing that it returns can be relied on.
"""

import contextlib
import importlib
import math
import os
import sys
import tempfile
import traceback
from pathlib import Path

#: What `from openevolve.evaluation_result import EvaluationResult` finds, also in processes that an evaluator starts.
RESULT = """
from dataclasses import dataclass, field


@dataclass
class EvaluationResult:
    metrics: dict
    artifacts: dict = field(default_factory=dict)

    @classmethod
    def from_dict(cls, metrics):
        return cls(metrics=metrics)

    def to_dict(self):
        return self.metrics

    def has_artifacts(self):
        return bool(self.artifacts)

    def get_artifact_keys(self):
        return list(self.artifacts)

    def get_artifact_size(self, key):
        value = self.artifacts.get(key, "")
        return len(value if isinstance(value, bytes) else str(value).encode())

    def get_total_artifact_size(self):
        return sum(map(self.get_artifact_size, self.artifacts))
"""
#: No text that is returned is longer, in characters; a child's answer has a limit too.
LONGEST = 2000


def evaluate():
    """Return the evaluator's metrics and artifacts: numbers and texts."""
    home = Path.cwd()
    task = home / "task"
    for name, content in FILES.items():
        file = task / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    package = home / "shelf" / "openevolve"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from openevolve.evaluation_result import EvaluationResult\n")
    (package / "evaluation_result.py").write_text(RESULT)
    child = home / f"child{SUFFIX}"
    child.write_text(CHILD, encoding="utf-8")
    tempfile.tempdir = str(home)
    sys.path[:0] = [str(task), str(home / "shelf")]
    # Processes that the evaluator starts import what it can import.
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    os.environ["HOME"] = str(home)
    os.chdir(task)
    with contextlib.redirect_stdout(sys.stderr):
        metrics, artifacts = _stages(importlib.import_module("evaluator"), str(child))
    return {"metrics": _plain(metrics), "artifacts": _plain(artifacts)}


def _stages(evaluator, child):
    """Run the evaluator, stage by stage where the task asks for it; a stage below its threshold is the last."""
    if not CASCADE or not hasattr(evaluator, "evaluate_stage1"):
        return _parts(evaluator.evaluate(child))
    metrics, artifacts = {}, {}
    for number in (1, 2, 3):
        stage = getattr(evaluator, f"evaluate_stage{number}", None)
        if stage is None:
            break
        more, said = _parts(stage(child))
        metrics.update(more)
        artifacts.update(said)
        if number <= len(THRESHOLDS) and _fitness(more) < THRESHOLDS[number - 1]:
            break
    return metrics, artifacts


def _parts(result):
    if hasattr(result, "metrics"):
        return dict(result.metrics), dict(result.artifacts)
    if not isinstance(result, dict):
        raise TypeError(f"the evaluator must return a dict or an EvaluationResult, got {type(result).__name__}")
    metrics = dict(result)
    artifacts = metrics.pop("artifacts", {})
    return metrics, dict(artifacts) if isinstance(artifacts, dict) else {"artifacts": artifacts}


def _fitness(metrics):
    if "combined_score" in metrics:
        return float(metrics["combined_score"])
    numbers = [float(v) for k, v in metrics.items() if k != "error" and isinstance(v, (int, float))]
    return sum(numbers) / len(numbers) if numbers else 0.0


def _plain(values):
    return {str(name): _value(value) for name, value in values.items()}


def _value(value):
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        if not isinstance(value, (str, bytes)):
            number = float(value)
            return number if math.isfinite(number) else str(number)
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= LONGEST else text[: LONGEST // 2] + " ... " + text[-LONGEST // 2 :]


def run():
    """The entry point: an evaluator's exception ends the program with the whole of its traceback."""
    try:
        return evaluate()
    except Exception:
        raise RuntimeError("the evaluator failed\n" + traceback.format_exc()) from None
