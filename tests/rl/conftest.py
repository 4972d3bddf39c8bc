"""The tiny model, made once."""

from importlib.util import find_spec
from pathlib import Path

import pytest


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
