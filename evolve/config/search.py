"""Options of the search: selection, size of a step, prompt, reward."""

from dataclasses import dataclass, field

from evolve.archive import Measure
from evolve.config.checks import at_least, one_of
from evolve.errors import ConfigError
from evolve.prompt import ReplyFormat
from evolve.reward import LazyMode, RewardMode
from evolve.selection import Inspiration, Weighting


@dataclass(frozen=True)
class SelectionConfig:
    """What all selections share; `kind` says which one it is."""

    kind: str = "???"


@dataclass(frozen=True)
class MapElitesConfig(SelectionConfig):
    """Islands with archives; see `evolve.selection.MapElitesSettings` for each option."""

    kind: str = "map_elites"
    islands: int = 4
    exploration: float = 0.2
    exploitation: float = 0.6
    weighting: str = "uniform"
    inspirations: str = "archive"
    measures: list[str] = field(default_factory=lambda: [str(Measure.SCORE), str(Measure.LENGTH)])
    bins: int = 16
    archive: int = 24
    population: int | None = None
    failures: float = 0.0
    migration_interval: int = 5
    migration_share: float = 0.1

    def __post_init__(self) -> None:
        for name in ("islands", "bins", "archive", "population"):
            at_least(f"selection.{name}", getattr(self, name), 1)
        at_least("selection.migration_interval", self.migration_interval, 0)
        one_of("selection.weighting", self.weighting, Weighting)
        one_of("selection.inspirations", self.inspirations, Inspiration)
        if not self.measures or len(set(self.measures)) < len(self.measures):
            raise ConfigError(
                f"selection.measures={self.measures} is no grid: name at least one measure, and none of them twice"
            )
        for name in ("failures", "migration_share"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise ConfigError(f"selection.{name}={share} is no share: it must be from 0 to 1")
        if not (self.exploration >= 0 and self.exploitation >= 0 and self.exploration + self.exploitation <= 1):
            raise ConfigError(
                "selection.exploration and selection.exploitation are shares: their sum must be at most 1"
            )


@dataclass(frozen=True)
class PuctConfig(SelectionConfig):
    """PUCT with lineage blocking; see `evolve.selection.PuctSettings` for each option."""

    kind: str = "puct"
    exploration: float = 1.0
    children: int = 2
    buffer: int = 1000

    def __post_init__(self) -> None:
        at_least("selection.exploration", self.exploration, 0)
        for name in ("children", "buffer"):
            at_least(f"selection.{name}", getattr(self, name), 1)


@dataclass(frozen=True)
class TopKConfig(SelectionConfig):
    """A queue of the best programs.

    Attributes:
        k: How many; parents and inspirations are uniform over them.
        apart: Of programs whose scores are closer than this the best alone is among them, so that the queue does not
            fill with copies of one find; in units of the problem's `|best - worst|`. 0 for all.
    """

    kind: str = "top_k"
    k: int = 32
    apart: float = 0.0

    def __post_init__(self) -> None:
        at_least("selection.k", self.k, 1)
        if not 0 <= self.apart <= 1:
            raise ConfigError(f"selection.apart={self.apart} is no share: it must be from 0 to 1")


@dataclass(frozen=True)
class BestOfNConfig(SelectionConfig):
    """The baseline without evolution: every parent is the seed program."""

    kind: str = "best_of_n"


@dataclass(frozen=True)
class RandomConfig(SelectionConfig):
    """The baseline without pressure: every parent is uniform over the valid programs."""

    kind: str = "random"


@dataclass(frozen=True)
class RolloutConfig:
    """Sizes of a step.

    Attributes:
        parents: Groups of a step.
        samples: Completions of a group.
        late: The share of a step's completions that may be unfinished when the next step begins, their evaluation or,
            without a learner, already their decoding; they go on beside it and count in a later step. 0 waits for all,
            which makes a run with recorded completions reproducible.
    """

    parents: int = 8
    samples: int = 8
    late: float = 0.5

    def __post_init__(self) -> None:
        at_least("rollout.parents", self.parents, 1)
        at_least("rollout.samples", self.samples, 1)
        if not 0 <= self.late <= 1:
            raise ConfigError(f"rollout.late={self.late} is no share: it must be from 0 to 1")


@dataclass(frozen=True)
class PromptConfig:
    """What a prompt shows beside the problem and the parent; see `evolve.prompt.PromptSettings`.

    The defaults are what served a model of 1.5 billion parameters best in `configs/studies/prompt_ablation.yaml`: two
    inspirations and a move were better than the parent alone in 11 of 12 pairs of runs (docs/results).

    Attributes:
        format: full, edits, or auto: edits from 7 billion parameters on, else full.
        inspirations: How many other programs.
        ancestors: How many of the parent's last ancestors.
        failure: Whether the last failure of the parent's children.
        moves: Whether an idea of the problem's.
        focus: Whether a move `In NAME: ...` is asked of the parent's function NAME alone.
    """

    format: str = "auto"
    inspirations: int = 2
    ancestors: int = 0
    failure: bool = False
    moves: bool = True
    focus: bool = True

    def __post_init__(self) -> None:
        for name in ("inspirations", "ancestors"):
            at_least(f"prompt.{name}", getattr(self, name), 0)
        one_of("prompt.format", self.format, ("auto", *ReplyFormat))


@dataclass(frozen=True)
class RewardConfig:
    """What an attempt earns; see `evolve.reward`.

    Attributes:
        mode: raw, shaped, improvement, better, or problem: what the problem's folder says.
        lazy: Which repetitions of known programs are punished: none, parent, any.
        near_edit: A valid child whose text is nearer to its parent's than this counts as a repetition: the share of
            tokens, from 0 to 1, that the other one lacks (`evolve.distance`). It hits small edits that help, too, and
            is nothing for prompt.format=edits. 0 for never.
        near_score: The same for a score that differs from the parent's by less than this, up or down, in units of the
            problem's `|best - worst|`; where scores are whole numbers, any small value means equal scores. 0 for never.
        no_program: Of a reply without a child.
        repeated: Of a punished repetition.
        failed: Of a child that crashed or broke a limit.
        invalid: Of a child whose construction was refused.
    """

    mode: str = "problem"
    lazy: str = "any"
    near_edit: float = 0.0
    near_score: float = 0.0
    no_program: float = -0.4
    repeated: float = -0.3
    failed: float = -0.2
    invalid: float = -0.1

    def __post_init__(self) -> None:
        one_of("reward.mode", self.mode, ("problem", *RewardMode))
        one_of("reward.lazy", self.lazy, LazyMode)
        for name in ("near_edit", "near_score"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise ConfigError(f"reward.{name}={share} is no share: it must be from 0 to 1")
