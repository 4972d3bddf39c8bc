"""Which one of several processes this is: `accelerate launch` starts the same command once for every GPU."""

import os
from dataclasses import dataclass

from evolve.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One process among those that train a model together.

    Attributes:
        rank: Its number; 0 runs the search, the others serve it.
        ranks: How many there are.
        here: How many of them are on this machine.
        fsdp: The version of FSDP that was asked for, which leaves each of them a part of the weights; 0 for none.
        port: The launcher's, which no other launch on this machine has at the same time.
    """

    rank: int = 0
    ranks: int = 1
    here: int = 1
    fsdp: int = 0
    port: str = ""


#: The one process of a command that nothing launched.
ALONE = Place()


def launched() -> Place:
    """Return what the launcher says of this process."""
    said = os.environ  # noqa: TID251 (the launcher says it nowhere else)
    ranks = int(said.get("WORLD_SIZE", "1"))
    if ranks == 1 or "RANK" not in said:
        return ALONE
    return Place(
        rank=int(said["RANK"]),
        ranks=ranks,
        here=int(said.get("LOCAL_WORLD_SIZE", ranks)),
        fsdp=int(said.get("FSDP_VERSION", "1")) if said.get("ACCELERATE_USE_FSDP") == "true" else 0,
        port=said.get("MASTER_PORT", ""),
    )


def check_launch(place: Place, parents: int, learner: str) -> None:
    """Refuse to run in processes that could not share the work evenly.

    Args:
        place: This process.
        parents: Groups of a step.
        learner: Its kind.

    Raises:
        ConfigError: Nothing is trained, a step's groups do not divide by the processes, there are several machines, or
            the old FSDP was asked for.
    """
    if place.ranks == 1:
        return
    if learner == "frozen":
        raise ConfigError(
            f"accelerate launch started {place.ranks} processes, which only a learner can use: say learner=grpo, or "
            "run without accelerate launch"
        )
    if place.here != place.ranks:
        raise ConfigError(
            f"accelerate launch spreads {place.ranks} processes over several machines, and a run needs all on one: say "
            "--num_machines 1"
        )
    if place.fsdp == 1:
        raise ConfigError("weights are sharded by FSDP2: say accelerate launch --use_fsdp --fsdp_version 2")
    if parents % place.ranks:
        nearest = max(parents // place.ranks, 1) * place.ranks
        raise ConfigError(
            f"{parents} groups a step do not divide by {place.ranks} processes: say rollout.parents={nearest}, or "
            "another --num_processes"
        )
