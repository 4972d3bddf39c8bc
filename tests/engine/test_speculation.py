"""Guessing ahead changes how long the model takes, not what it says."""

import contextlib
import functools
from dataclasses import replace

import pytest

from evolve.engine import Sampling
from evolve.engine.apart import EngineApart
from evolve.protocols import Engine
from evolve.types import Completion, Message, Request

pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore")]

#: Asks for what guesses are good at, a text that is there already.
QUESTION = """Repeat this program word for word:
```python
def first_fit(item, bins):
    for index, room in enumerate(bins):
        if room >= item:
            return index
    return len(bins)
```"""


def completions(engine: Engine) -> list[Completion]:
    """Return what the model says without sampling, and how likely it found each token."""
    request = Request(group=0, messages=(Message(role="user", content=QUESTION),), samples=(0, 1), first=0)
    return sorted(engine.stream([request]), key=lambda completion: completion.sample)


def test_what_was_guessed_is_what_would_have_been_said(model_cache):
    """Token for token, each with its log-probability, of which there is one for every token that was kept."""
    pytest.importorskip("vllm")
    from evolve.engine.vllm import VllmEngine, VllmSettings
    from evolve.models import resolve_model

    model = resolve_model("smollm2-135m-instruct", cache=model_cache, notify=lambda _: None)
    settings = VllmSettings(
        max_model_len=512,
        max_num_seqs=4,
        gpu_memory_utilization=0.5,
        kv_cache_gib=1,
        compile=False,
        logprobs=True,
        seed=0,
        dtype="float32",
    )
    sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=48)
    with contextlib.closing(EngineApart(functools.partial(VllmEngine, model, sampling, settings))) as engine:
        plain = completions(engine)
    with contextlib.closing(VllmEngine(model, sampling, replace(settings, speculate=4))) as engine:
        guessed = completions(engine)
        assert engine._llm.llm_engine.vllm_config.speculative_config.num_speculative_tokens == 4

    for before, after in zip(plain, guessed, strict=True):
        assert after.token_ids == before.token_ids
        assert after.logprobs == pytest.approx(before.logprobs, abs=1e-3)
