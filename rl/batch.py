"""From the groups of a step to the rows that the trainer takes, and to what they say of the search. Pure."""

import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evolve.types import Attempt, Direction, FinishReason, Group, Message, Outcome
from rl.advantages import ADVANTAGES, Array, most_varied, tells_nothing
from rl.settings import GrpoSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One completion as the trainer takes it.

    Attributes:
        prompt_ids: `(P,)` tokens of the prompt.
        completion_ids: `(T,)` generated tokens, the end of the sequence included.
        logprobs: `(T,)` log-probabilities under the engine's distribution.
        advantage: 0 when masked.
        counts: Whether its tokens are in the loss.
        fresh: Whether it is of the update's own groups, and not of what was late of the update before.
        age: Updates between the weights that drew it and those that learn from it.
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    advantage: float
    counts: bool
    fresh: bool
    age: int = 0


#: Fills up: the trainer wants the same number of rows each time. One token costs nothing.
PLACEHOLDER = Row(prompt_ids=(0,), completion_ids=(0,), logprobs=(0.0,), advantage=0.0, counts=False, fresh=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """A group of the update before, some of whose evaluations have ended since.

    Attributes:
        group: All of it that is evaluated by now.
        late: Ids of what was not learned from then.
        age: Updates between the weights that drew it and those that learn from it now.
    """

    group: Group
    late: frozenset[int]
    age: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one update learns from.

    Attributes:
        rows: `(B * n,)`, in micro-batches: a group's rows next to each other, placeholders at the end of each.
        figures: What the step's groups say of the search, by name.
    """

    rows: tuple[Row, ...]
    figures: Mapping[str, float]

    @property
    def is_silent(self) -> bool:
        """Whether no row pulls the policy anywhere."""
        return all(row.advantage == 0 for row in self.rows)

    @property
    def is_empty(self) -> bool:
        """Whether no token is in the loss."""
        return not any(row.counts for row in self.rows)


def rewards_of(group: Group, settings: GrpoSettings) -> Array:
    """Return a group's rewards, `(n,)`, NaN where an attempt must not count.

    That is where it is missing (its evaluation has not ended, or it was made before a resume), was lost to an
    infrastructure failure, or was cut at the token limit and `mask_truncated` says so.
    """
    rewards_n = np.full(settings.samples, np.nan)
    for attempt in group:
        completion = attempt.completion
        known = 0 < len(completion.token_ids) == len(completion.logprobs)
        cut = settings.mask_truncated and completion.finish_reason is FinishReason.LENGTH
        if attempt.reward is not None and known and not cut:
            rewards_n[completion.sample] = attempt.reward
    return rewards_n


def informative(groups: Sequence[Group], settings: GrpoSettings) -> list[Group]:
    """Return the groups whose rewards differ, in their order."""
    return [group for group in groups if not tells_nothing(rewards_of(group, settings))]


def make_batch(
    groups: Sequence[Group],
    settings: GrpoSettings,
    encode: Callable[[Sequence[Message]], Sequence[int]],
    parents: Mapping[int, float | None],
    late: Sequence[Grown] = (),
    *,
    lag: int = 0,
) -> Batch:
    """Return the rows and figures of the groups of one or more steps.

    Where there are more groups than an update takes, those that tell something come first. What is late fills the rows
    that would be placeholders, as far as they go. Where the share of different programs is below `min_distinct` all
    are: the policy has collapsed so far that it could only learn more of the same. What is late counts in that, for
    repetitions are known at once, and other programs take their time.

    Args:
        groups: At least B.
        settings: Of the learner.
        encode: From the messages of a prompt to its tokens.
        parents: Their scores, by id.
        late: Groups of the update before, with what has been evaluated since.
        lag: Updates between the weights that drew the groups and those that learn from them.
    """
    telling = informative(groups, settings)
    silent = [group for group in groups if not any(group is other for other in telling)]
    fresh = [
        _rows(group, settings, encode, [attempt.id for attempt in group], fresh=True, age=lag)
        for group in [*telling, *silent][: settings.parents]
    ]
    grown = [_rows(group.group, settings, encode, group.late, fresh=False, age=group.age) for group in late]
    figures = _figures(groups, settings, parents)
    slow = [attempt for group in late for attempt in group.group if attempt.id in group.late]
    distinct = _distinct([*_attempts(groups), *slow])
    paused = distinct is not None and distinct < settings.min_distinct
    rows = [PLACEHOLDER] * settings.rows if paused else _arrange(fresh, grown, settings)
    figures["staleness"] = _staleness(rows)
    if settings.min_distinct:
        figures["paused"] = float(paused)
    return Batch(rows=tuple(rows), figures=figures)


def dealt(batch: Batch, settings: GrpoSettings, ranks: int) -> Batch:
    """Return a batch of whose rows each rank's part has about as many tokens: the ranks wait for each other."""
    if ranks == 1:
        return batch
    size, rows = settings.micro_rows, batch.rows
    micros = [rows[start : start + size] for start in range(0, len(rows), size)]
    micros.sort(key=lambda micro: sum(len(row.completion_ids) for row in micro), reverse=True)
    return replace(batch, rows=tuple(row for rank in range(ranks) for micro in micros[rank::ranks] for row in micro))


def _arrange(fresh: Sequence[Sequence[Row]], late: Sequence[Sequence[Row]], settings: GrpoSettings) -> list[Row]:
    """Return micro-batches of `micro_rows` rows and at most `most_tokens` tokens, filled up with placeholders.

    What is fresh of a group stays together, for it shares its prompt there, and always finds a place: there are as many
    micro-batches as full groups need. What is late goes where there is room left; without any it teaches nothing.
    """
    size = settings.micro_rows
    micros: list[list[Row]] = [[] for _ in range(settings.rows // size)]
    room = [settings.most_tokens] * len(micros)
    parts = [rows[start : start + size] for rows in fresh for start in range(0, len(rows), size)]
    for part in [*parts, *([row] for rows in late for row in rows)]:
        tokens = len(part[0].prompt_ids) + sum(len(row.completion_ids) for row in part)
        for place, micro in enumerate(micros):
            if not micro or (len(micro) + len(part) <= size and tokens <= room[place]):
                micro.extend(part)
                room[place] -= tokens
                break
    return [row for micro in micros for row in (*micro, *[PLACEHOLDER] * (size - len(micro)))]


def _rows(
    group: Group,
    settings: GrpoSettings,
    encode: Callable[[Sequence[Message]], Sequence[int]],
    wanted: Collection[int],
    *,
    fresh: bool,
    age: int,
) -> list[Row]:
    """Return the rows of a group's wanted attempts that are learned from; those of the whole group share the credit."""
    rewards_n = rewards_of(group, settings)
    if settings.drop_constant and tells_nothing(rewards_n):
        return []
    if settings.trained_samples is not None:
        # As large a part of what is there: what comes later must not make more of the group than was asked for.
        share = np.count_nonzero(~np.isnan(rewards_n)) / settings.samples
        rewards_n = most_varied(rewards_n, max(2, round(settings.trained_samples * share)))
    (advantages_n,) = ADVANTAGES[settings.advantage](rewards_n[None])
    taken = [
        attempt for attempt in group if attempt.id in wanted and not np.isnan(rewards_n[attempt.completion.sample])
    ]
    prompt = tuple(encode(taken[0].prompt)) if taken else ()
    return [
        Row(
            prompt_ids=prompt,
            completion_ids=attempt.completion.token_ids,
            logprobs=attempt.completion.logprobs,
            advantage=float(advantages_n[attempt.completion.sample]),
            counts=True,
            fresh=fresh,
            age=age,
        )
        for attempt in taken
    ]


def _staleness(rows: Sequence[Row]) -> float:
    """Return the mean number of updates between the weights that drew a row and those that learn from it."""
    counting = [row for row in rows if row.counts]
    return sum(row.age for row in counting) / max(len(counting), 1)


def _figures(groups: Sequence[Group], settings: GrpoSettings, parents: Mapping[int, float | None]) -> dict[str, float]:
    """Return shares of the attempts, and of the groups, and means; an empty step has none."""
    attempts = _attempts(groups)
    if not attempts:
        return {}
    rewards = [attempt.reward for attempt in attempts if attempt.reward is not None]
    rewards_G_n = [rewards_of(group, settings) for group in groups]
    figures = {
        "valid": _share(attempts, lambda attempt: attempt.outcome is Outcome.VALID),
        "changed": _share(attempts, lambda attempt: _is_changed(attempt, parents)),
        "improved": _share(attempts, lambda attempt: _is_improved(attempt, parents, settings.direction)),
        "lazy": _share(attempts, lambda attempt: attempt.outcome.is_lazy),
        "truncated": _share(attempts, lambda attempt: attempt.completion.finish_reason is FinishReason.LENGTH),
        "masked": float(np.isnan(np.stack(rewards_G_n)).mean()),
        "constant_groups": sum(tells_nothing(rewards_n) for rewards_n in rewards_G_n) / len(groups),
        "completion_tokens": statistics.fmean(attempt.completion.tokens for attempt in attempts),
        "prompt_tokens": statistics.fmean(attempt.completion.prompt_tokens for attempt in attempts),
    }
    if (distinct := _distinct(attempts)) is not None:
        figures["distinct"] = distinct
    if rewards:
        figures["reward"] = statistics.fmean(rewards)
        figures["reward_std"] = statistics.pstdev(rewards)
    return figures


def _attempts(groups: Sequence[Group]) -> list[Attempt]:
    return [attempt for group in groups for attempt in group]


def _distinct(attempts: Sequence[Attempt]) -> float | None:
    """Return the different programs as a share of all; None where there is none."""
    identities = [attempt.identity for attempt in attempts if attempt.identity is not None]
    return len(set(identities)) / len(identities) if identities else None


def _is_changed(attempt: Attempt, parents: Mapping[int, float | None]) -> bool:
    """Return whether a child is valid and does not have its parent's score: of valid children most may be copies."""
    return attempt.outcome is Outcome.VALID and attempt.score != parents[attempt.draw.parent_id]


def _is_improved(attempt: Attempt, parents: Mapping[int, float | None], direction: Direction) -> bool:
    """Return whether a child is better than its parent."""
    parent = parents[attempt.draw.parent_id]
    return attempt.score is not None and parent is not None and direction.gain(attempt.score, parent) > 0


def _share(attempts: Sequence[Attempt], condition: Callable[[Attempt], bool]) -> float:
    return sum(map(condition, attempts)) / len(attempts)
