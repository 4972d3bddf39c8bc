"""One run with a real language model, small enough for any machine: SmolLM2-135M by vLLM on the CPU."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.model


@pytest.mark.skipif(find_spec("vllm") is None, reason="needs the extra `cpu`")
def test_a_real_model_evolves_a_program(evolve, tmp_path):
    """`evolve run` resolves the model, decodes its completions, judges them all, and leaves database and report."""
    cache = Path("~/.cache/thetaevolve").expanduser()
    run = tmp_path / "run"
    done = evolve(
        "run",
        "problem=bin_packing",
        "model=smollm2-135m-instruct",
        f"model_cache={cache}",
        "rollout.parents=2",
        "rollout.samples=4",
        "sampling.max_tokens=160",
        "engine.max_model_len=2048",
        "engine.max_num_seqs=8",
        "engine.kv_cache_gib=1",
        "sandbox.require=none",
        "budget.steps=2",
        f"run.dir={run}",
        timeout_s=500.0,
    )
    shown = json.loads(evolve("show", f"run={run}", "format=json").stdout)
    first = json.loads(evolve("show", f"run={run}", "program=1", "format=json").stdout)

    assert done.returncode == 0, done.stderr
    assert shown["steps"] == 2
    assert shown["completions"] == sum(shown["outcomes"].values()) == 16
    assert first["tokens"] > 0
    assert first["reply"]
    # A model this small seldom writes a program that works; what counts is that every reply was judged.
    assert (run / "report" / "summary.md").exists()
