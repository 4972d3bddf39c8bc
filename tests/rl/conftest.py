"""The tiny model, made once, and a learner around it."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from rl.checkpoint import Policy
from tests.rl.toy import SETTINGS, ListStore, NumberSearch


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that answers any prompt with a small program; needs the extra `rl`."""
    if find_spec("trl") is None or find_spec("peft") is None:
        pytest.skip("needs the extra `rl`")
    import torch

    # A model this small is taught faster by one thread than by many that wait for each other.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        from tests.rl.tiny import make_tiny_model

        return make_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny-program-writer", tied=True)
    finally:
        torch.set_num_threads(threads)


@pytest.fixture
def bench(tiny_model, tmp_path):
    """Build a learner, its search and its store around the tiny model."""

    def build(*, engine_class=None, folder="learner", model=tiny_model, **changes):
        from rl.grpo import Grpo
        from tests.rl.hf_engine import HfEngine

        settings = replace(SETTINGS, **changes)
        store = ListStore()
        engine = (engine_class or HfEngine)(tiny_model, max_tokens=settings.max_tokens)
        policy = Policy(model=model, name=str(model), folder=tmp_path / folder)
        told = []
        learner = Grpo(settings, policy, engine, store, told.append)
        return learner, NumberSearch(engine, store, settings), told

    return build
