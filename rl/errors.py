"""What stops a learner. The database and the last checkpoint are kept; `evolve resume` goes on from there."""

from evolve.errors import LearnerError


class PolicyMismatchError(LearnerError):
    """Engine and trainer give the same tokens different probabilities: they do not hold the same policy."""

    def __init__(self, gap: float, bound: float) -> None:
        super().__init__(
            f"engine and trainer disagree on the log-probability of the step's tokens by {gap:.3g} on average, more "
            f"than learner.logprob_bound={bound:g}: the engine's weights are stale, or the precision is too low; "
            "resume the run, and if it happens again raise the bound or say engine.dtype=float32"
        )


class RankError(LearnerError):
    """One of several processes has ended, or cannot go on."""

    def __init__(self, words: str) -> None:
        super().__init__(f"{words}; all ranks end, and the database and the last checkpoint are kept")


class TrainingMemoryError(LearnerError):
    """The update does not fit into the memory."""

    def __init__(self, words: str) -> None:
        super().__init__(
            f"training ran out of memory ({words}); lower learner.micro_tokens or engine.gpu_memory_utilization, or "
            "say learner.sleep=true or learner.method=lora; the database and the last checkpoint are kept"
        )


class UnsupportedAttentionError(LearnerError):
    """The model's attention is of a kind that the trainer's forward does not know."""

    def __init__(self, kind: str) -> None:
        super().__init__(
            f"learner=grpo cannot train a model whose attention has {kind}; take another model, or say learner=frozen"
        )
