"""The learner that never learns. Learners that train live in `rl/`."""

from collections.abc import Callable, Iterable, Sequence

from evolve.types import Group


class Frozen:
    """Runs the steps and leaves the policy as it is."""

    def run(self, attempt: Callable[[int], Sequence[Group]], steps: Iterable[int]) -> None:
        """Call `attempt` for every step."""
        for step in steps:
            attempt(step)
