"""Guessing ahead must not change what the model says."""

import pytest

from evolve.engine import Sampling
from evolve.errors import ConfigError
from evolve.options import parse_options


@pytest.mark.model
@pytest.mark.filterwarnings("ignore")
def test_guesses_are_refused_where_they_would_change_what_is_drawn(tmp_path):
    """On a CPU, before anything is loaded."""
    pytest.importorskip("vllm")
    from evolve.engine.vllm import VllmEngine
    from evolve.engine.vllm_start import VllmSettings

    settings = VllmSettings(
        max_model_len=512,
        max_num_seqs=4,
        gpu_memory_utilization=0.5,
        kv_cache_gib=1,
        compile=False,
        logprobs=False,
        seed=0,
        speculate=4,
    )
    with pytest.raises(ConfigError, match=r"engine\.speculate needs a GPU") as refused:
        VllmEngine(tmp_path, Sampling(temperature=1.0, top_p=1.0, max_tokens=8), settings)

    assert "\n" not in str(refused.value)


def test_guessing_needs_what_compiles_it():
    """On a GPU vLLM 0.25 ended with a traceback; now the options are refused before anything is loaded."""
    words = ["problem=circle_packing", "engine.speculate=4"]

    with pytest.raises(ConfigError, match=r"engine\.speculate=4 needs engine\.compile=true") as refused:
        parse_options(words)

    assert "\n" not in str(refused.value)
    assert parse_options([*words, "engine.compile=true"]).engine.speculate == 4
