"""What a run's configuration makes of its engine."""

from pathlib import Path

import pytest

from evolve.engine.build import vllm_start
from evolve.launch import Place
from evolve.options import parse_options


def seed_of(seed: int, *, rank: int = 0, attempts: int = 0) -> int:
    """Return what seeds the random numbers of a rank's engine, in a run that has so many attempts."""
    config = parse_options(["problem=circle_packing", f"run.seed={seed}"])
    start = vllm_start(config, config.engine, Path("/model"), Place(rank=rank, ranks=2), attempts=attempts)
    return start.args[2].seed


def test_an_engine_that_is_started_anew_draws_other_numbers():
    """A run that is resumed asks the same prompts again; no rank, and no other seed, draws what another has drawn."""
    seeds = [seed_of(seed, rank=rank, attempts=made) for seed in (0, 1, -1) for rank in (0, 1) for made in (0, 1, 32)]

    assert len(set(seeds)) == 18
    assert seed_of(1, rank=1, attempts=32) == seed_of(1, rank=1, attempts=32)


@pytest.mark.parametrize("seed", [-(2**53), -1, 0, 2**32, 2**53])
def test_every_seed_that_a_run_may_have_seeds_the_engine(seed):
    """It takes 32 bits, and refuses others only when the run is made."""
    assert 0 <= seed_of(seed) < 2**32
