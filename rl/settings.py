"""What a learner is told: plain values, so that they can be made without torch."""

from dataclasses import dataclass
from enum import StrEnum

from evolve.types import Direction


class Method(StrEnum):
    """What is trained."""

    FULL = "full"  #: all weights, in float32
    LORA = "lora"  #: a low-rank adapter in float32 over a frozen model in bfloat16


class Loss(StrEnum):
    """How the tokens' losses become one number."""

    GRPO = "grpo"  #: the mean over each completion, then over completions (ThetaEvolve)
    DAPO = "dapo"  #: the mean over all tokens of the step (arXiv:2503.14476)
    DR_GRPO = "dr_grpo"  #: the sum over tokens, divided by the highest possible count (arXiv:2503.20783)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpoSettings:
    """How the model is trained; `evolve.config.learner.GrpoConfig` documents each option for people.

    Attributes:
        parents: Groups of a step, B.
        samples: Completions of a group, n.
        max_tokens: Longest completion.
        max_model_len: Longest prompt and completion together.
        temperature: The completions are drawn at it, and the loss's distribution is the same.
        dtype: Of the engine's weights and of the trainer's matrix products: "bfloat16" or "float32".
        seed: Of the run.
        direction: Of the problem's score.
    """

    parents: int
    samples: int
    max_tokens: int
    max_model_len: int
    temperature: float
    dtype: str
    seed: int
    direction: Direction
    advantage: str
    loss: Loss
    method: Method
    lora_rank: int
    learning_rate: float
    weight_decay: float
    clip_low: float
    clip_high: float
    importance_cap: float
    entropy_bonus: float
    entropy_target: float | None
    entropy_cap: float
    kl: float
    novelty: float
    min_distinct: float
    mask_truncated: bool
    drop_constant: bool
    trained_samples: int | None
    refills: int
    logprob_bound: float
    micro_tokens: int
    overlap: bool
    sleep: bool
    save_steps: int
    keep: int
    report_to: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Completions of a step, B * n."""
        return self.parents * self.samples

    @property
    def row_weight(self) -> float:
        """What a row's policy loss and divergence weigh, so that each group's are a mean over what is learned from.

        PODS divides by the samples that are trained, m (arXiv:2504.13818); with `grpo` and `dr_grpo` TRL divides by all
        n that a group has rows for. `dapo` divides by the tokens of those that are trained, as the entropy bonus does.
        """
        if self.trained_samples is None or self.loss is Loss.DAPO:
            return 1.0
        return self.samples / self.trained_samples

    @property
    def micro_rows(self) -> int:
        """Completions that go through the trainer at once: a divisor of the group's, so that they share a prompt.

        The longest possible ones must fit into `micro_tokens`; at least one does go.
        """
        fitting = 1 + max(0, self.micro_tokens - self.max_model_len) // self.max_tokens
        return max(rows for rows in range(1, min(fitting, self.samples) + 1) if self.samples % rows == 0)

    @property
    def most_tokens(self) -> int:
        """Tokens that go through the trainer at once, at most: the longest `micro_rows` completions of one prompt."""
        return self.max_model_len + (self.micro_rows - 1) * self.max_tokens
