"""Scores a guess; what the child does wrong in each way is told in OpenEvolve's ways."""

import importlib.util
import pathlib
import subprocess
import sys

from helper_numbers import TARGET
from openevolve.evaluation_result import EvaluationResult


def load(path):
    spec = importlib.util.spec_from_file_location("program", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.run_guess()


def evaluate_stage1(path):
    guess = load(path)
    if guess == "error":
        return {"combined_score": 0.0, "error": "no number"}
    return {"combined_score": 0.1 if guess < 2 else 1.0, "stage1": 1.0}


def evaluate_stage2(path):
    guess = load(path)
    code = "import numpy; from openevolve.evaluation_result import EvaluationResult as R; print(R({'a': 1}).metrics)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    table = pathlib.Path(__file__).with_name("table.txt").read_text()
    return EvaluationResult(
        metrics={"combined_score": 1.0 / (1.0 + abs(guess - TARGET)), "stage2": 1.0},
        artifacts={"hint": f"guess {guess} is off by {abs(guess - TARGET)}", "process": said.strip(), "table": table},
    )


def evaluate(path):
    raise AssertionError("the stages are asked for")
