"""What stops a learner. The database and the last checkpoint are kept; `evolve resume` goes on from there."""

import math
from pathlib import Path

from evolve.errors import LearnerError


class _WordedError(LearnerError):
    """Comes out of another process as a plain LearnerError with the same words, which are made of other arguments."""

    def __reduce__(self) -> tuple[type[LearnerError], tuple[object, ...]]:
        return LearnerError, self.args


class PolicyMismatchError(_WordedError):
    """Engine and trainer give the same tokens different probabilities: they do not hold the same policy."""

    def __init__(self, gap: float, bound: float) -> None:
        if math.isnan(gap):
            super().__init__(
                "a log-probability of the step's tokens is no number (nan), by the engine or by the trainer: the "
                "precision is too low, or the weights are broken; resume the run, and if it happens again say "
                "engine.dtype=float32, or delete the newest folder learner/checkpoint-N of the run and resume it"
            )
            return
        super().__init__(
            f"engine and trainer disagree on the log-probability of the step's tokens by {gap:.3g} on average, more "
            f"than learner.logprob_bound={bound:g}: the engine's weights are stale, or the precision is too low; "
            "resume the run, and if it happens again raise the bound or say engine.dtype=float32"
        )


class GradientError(_WordedError):
    """An update would make all weights no numbers."""

    def __init__(self, norm: float) -> None:
        super().__init__(
            f"the norm of the update's gradient is no finite number ({norm:g}): a log-probability is none, or a reward "
            "is too large for float32; the weights have not moved: resume the run, and if it happens again say "
            "engine.dtype=float32 or, for large rewards, learner.advantage=rank"
        )


class BrokenWeightsError(_WordedError):
    """A checkpoint holds weights that are no finite numbers."""

    def __init__(self, checkpoint: Path) -> None:
        super().__init__(
            f"weights in {checkpoint} are no finite numbers: delete that folder and resume the run, which then goes on "
            "from the checkpoint before or, where there is none, from the model it began with"
        )


class RankError(_WordedError):
    """One of several processes has ended, or cannot go on."""

    def __init__(self, words: str) -> None:
        super().__init__(f"{words}; all ranks end, and the database and the last checkpoint are kept")


class TrainingMemoryError(_WordedError):
    """The update does not fit into the memory."""

    def __init__(self, words: str) -> None:
        super().__init__(
            f"training ran out of memory ({words}); lower learner.micro_tokens or engine.gpu_memory_utilization, or "
            "say learner.sleep=true or learner.method=lora; the database and the last checkpoint are kept"
        )


class CheckpointError(_WordedError):
    """A checkpoint cannot be written."""

    def __init__(self, folder: Path, keep: int, words: str) -> None:
        super().__init__(
            f"a checkpoint cannot be written to {folder} ({words}): free some space there, for {keep + 1} checkpoints "
            f"(learner.keep={keep}, and the one that is written) of 12 bytes a parameter that is trained, and resume "
            "the run; the database and the last complete checkpoint are kept"
        )


class UnsupportedAttentionError(_WordedError):
    """The model's attention is of a kind that the trainer's forward does not know."""

    def __init__(self, kind: str) -> None:
        super().__init__(
            f"learner=grpo cannot train a model whose attention has {kind}; take another model, or say learner=frozen"
        )
