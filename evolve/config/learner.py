"""Options of the learners."""

import math
from dataclasses import dataclass, field

from evolve.config.checks import at_least, one_of
from evolve.errors import ConfigError

#: Adam's step by method: ThetaEvolve's, and for an adapter TTT-Discover's (arXiv:2601.16175).
DEFAULT_RATES = {"full": 1e-6, "lora": 4e-5}
#: Those of `rl.advantages`, which is imported only when a learner is.
_ADVANTAGES = ("grpo", "dr_grpo", "rloo", "max_rl", "entropic", "entropic_adaptive", "rank")
#: vLLM serves adapters of these ranks.
_RANKS = (8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class LearnerConfig:
    """What all learners share; `kind` says which one it is."""

    kind: str = "???"


@dataclass(frozen=True)
class FrozenConfig(LearnerConfig):
    """The model stays as it is."""

    kind: str = "frozen"


@dataclass(frozen=True)
class GrpoConfig(LearnerConfig):
    """The model is trained after every step on the step's own groups; see `rl/README.md`.

    The defaults are ThetaEvolve's (arXiv:2511.23473 and its released code), which has no KL term and one update a step.
    The group's size is `rollout.samples`, 16 there.

    Attributes:
        advantage: Credit inside a group: grpo, dr_grpo, rloo, max_rl, entropic, entropic_adaptive or rank; see
            `rl/advantages.py`.
        loss: From tokens to one number: grpo (a mean for each completion, then over completions), dapo (a mean over all
            tokens) or dr_grpo (a sum, divided by the highest possible count).
        method: full: all weights, in float32. lora: an adapter over the frozen model.
        lora_rank: Rank of the adapter; its scale is 1.
        learning_rate: Of Adam; None for 1e-6, or 4e-5 for an adapter.
        weight_decay: Of Adam.
        clip_low: The policy's ratio is clipped at 1 - clip_low. With one update a step the ratio is 1 and neither
            clip acts.
        clip_high: And at 1 + clip_high.
        importance_cap: Highest ratio of trainer's to engine's probability by which a token's loss is corrected.
        entropy_bonus: Weight of the mean entropy, which the update raises; 0 for none. With an entropy_target it is the
            weight to begin with.
        entropy_target: Mean entropy of the tokens, in nats, below which the bonus acts: after each update its weight
            grows by 0.005 where the entropy was at most this, and falls by as much where it was not (Skywork-OR1,
            arXiv:2505.22312, as TRL has it). It belongs below the second update's entropy. None for a fixed weight.
        entropy_cap: Highest weight that an entropy_target may give the bonus: beyond it noise pays more than what the
            search is for.
        kl: Weight of the divergence from the model that training began with, estimated token by token
            (arXiv:2402.03300, equation 4); 0 for none. It costs one forward more, and with method=full a second model
            in memory.
        novelty: What a valid child earns beside its reward for being unlike the group's other valid children: this
            times the mean share of tokens, from 0 to 1, that they do not have in common; in the unit of the reward.
        min_distinct: An update is left out, and the search goes on, while the share of different programs among those
            of the step, and what was late of the one before, is below this; 0 for never.
        mask_truncated: Whether completions cut at `sampling.max_tokens` are left out instead of punished; then nothing
            keeps replies from growing, and where all are cut nothing is learned any more.
        drop_constant: Whether groups of equal rewards are left out of the work, the divergence and the entropy, and
            with loss=dapo of the mean; grpo and dr_grpo divide by all completions of a step, whatever they tell.
        trained_samples: How many samples of a group are learned from: those whose rewards vary most, at least 2 (PODS,
            arXiv:2504.13818), with credit among themselves and a mean over them; of a group that is evaluated in part
            the same share of that part. An update then takes less time; the others are in the search all the same. None
            for all.
        refills: How many more steps of the search may be made before an update to replace groups of equal rewards.
        logprob_bound: The run stops when engine and trainer disagree on the log-probability of the step's tokens by
            more than this on average.
        micro_tokens: Tokens that may go through the trainer at once, which bounds memory; at least one completion does.
            Where not all samples of a group can, at their longest, its prompt goes through several times.
        overlap: Whether the next step is made while an update is computed, by the weights of before it: what is learned
            from is one update old, and a step takes as long as the longer of the two. Not with sleep, refills or
            several processes.
        sleep: Whether the engine gives its memory to the trainer during an update, for a few seconds a step.
        save_steps: Updates between two checkpoints; the last update of a session is always saved.
        keep: Newest checkpoints that are kept.
        report_to: Where figures go beside the database: names of transformers' trackers, like tensorboard or wandb.
    """

    kind: str = "grpo"
    advantage: str = "grpo"
    loss: str = "grpo"
    method: str = "full"
    lora_rank: int = 32
    learning_rate: float | None = None
    weight_decay: float = 0.1
    clip_low: float = 0.2
    clip_high: float = 0.28
    importance_cap: float = 2.0
    entropy_bonus: float = 0.0
    entropy_target: float | None = None
    entropy_cap: float = 0.03
    kl: float = 0.0
    novelty: float = 0.0
    min_distinct: float = 0.0
    mask_truncated: bool = False
    drop_constant: bool = True
    trained_samples: int | None = None
    refills: int = 0
    logprob_bound: float = 0.1
    micro_tokens: int = 32768
    overlap: bool = False
    sleep: bool = False
    save_steps: int = 10
    keep: int = 2
    report_to: list[str] = field(default_factory=lambda: ["tensorboard"])

    def __post_init__(self) -> None:
        one_of("learner.advantage", self.advantage, _ADVANTAGES)
        one_of("learner.loss", self.loss, ("grpo", "dapo", "dr_grpo"))
        one_of("learner.method", self.method, ("full", "lora"))
        one_of("learner.lora_rank", str(self.lora_rank), map(str, _RANKS))
        for name in ("save_steps", "keep", "micro_tokens"):
            at_least(f"learner.{name}", getattr(self, name), 1)
        at_least("learner.trained_samples", self.trained_samples, 2)
        for name in ("weight_decay", "clip_low", "clip_high", "entropy_bonus", "kl", "novelty", "refills"):
            at_least(f"learner.{name}", getattr(self, name), 0)
        for name in ("importance_cap", "logprob_bound", "learning_rate", "entropy_target", "entropy_cap"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"learner.{name}={value} must be above 0")
        for name, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"learner.{name}={value} is no number to train with")
        if self.entropy_target is not None and self.entropy_bonus > self.entropy_cap:
            raise ConfigError(
                f"learner.entropy_bonus={self.entropy_bonus} is above learner.entropy_cap={self.entropy_cap}, the most "
                "that learner.entropy_target may make of it: lower the bonus or raise the cap"
            )
        if self.overlap and (self.sleep or self.refills):
            other = "learner.sleep=true" if self.sleep else f"learner.refills={self.refills}"
            raise ConfigError(
                f"learner.overlap=true makes one step beside each update, {other} cannot: take one of them"
            )
        if not 0 <= self.min_distinct <= 1:
            raise ConfigError(f"learner.min_distinct={self.min_distinct} is no share: it must be from 0 to 1")
