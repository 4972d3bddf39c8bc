"""What holds a policy back from collapse, on a real trainer and a tiny model."""

import math
import statistics
from dataclasses import replace

import pytest

from rl.checkpoint import Policy, checkpoints
from rl.settings import Loss, Method
from tests.rl.toy import SETTINGS, ListStore, NumberSearch, steps_until

# torch and its friends warn of their own deprecations.
pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def learn(tiny_model, tmp_path):
    """Train the tiny model for some steps; return the figures, the learner's folder and the groups of each step.

    `alter(step, attempt)` stands between the search and the learner.
    """

    def run(steps, *, folder="learner", alter=lambda _, made: made, told=None, **changes):
        from rl.grpo import Grpo
        from tests.rl.hf_engine import HfEngine

        settings = replace(SETTINGS, **changes)
        store = ListStore()
        engine = HfEngine(tiny_model, max_tokens=settings.max_tokens)
        search = NumberSearch(engine, store, settings)
        learner = Grpo(
            settings,
            Policy(model=tiny_model, name="tiny", folder=tmp_path / folder),
            engine,
            store,
            (told if told is not None else []).append,
        )
        made = []

        def step(number):
            made.append([tuple(alter(number, each) for each in group) for group in search.step(number)])
            return made[-1]

        learner.run(step, steps)
        return [update.values for update in store.updates], tmp_path / folder, made

    return run


def equal(_, made):
    """Pay all attempts alike."""
    return replace(made, reward=1.0)


def equal_later(step, made):
    """Pay all attempts alike from step 2 on."""
    return equal(step, made) if step > 1 else made


def one_lost(_, made):
    """Lose the last attempt of each group."""
    return replace(made, reward=None) if made.completion.sample == 3 else made


def weights_of(folder):
    """Return all tensors of the checkpoints, oldest first."""
    from safetensors.torch import load_file

    return [load_file(path / "model.safetensors") for path, _ in checkpoints(folder)]


def moved(one, two):
    """Return by how much two sets of weights differ at most."""
    return max(float((one[name] - two[name]).abs().max()) for name in one)


def divergence(model, groups):
    """Return the mean over completions of the mean over tokens of `exp(d) - d - 1`, d = log reference - log policy."""
    import torch
    from transformers import AutoModelForCausalLM

    from tests.rl.hf_engine import HfEngine

    engine = HfEngine(model, max_tokens=1)
    start = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    means = []
    for attempt in (attempt for group in groups for attempt in group if attempt.reward is not None):
        prompt, drawn = engine.encode(attempt.prompt), list(attempt.completion.token_ids)
        with torch.no_grad():
            logits = start(input_ids=torch.tensor([[*prompt, *drawn]])).logits[0, len(prompt) - 1 : -1]
        reference = torch.log_softmax(logits, -1).gather(1, torch.tensor(drawn)[:, None])[:, 0]
        difference = reference - torch.tensor(attempt.completion.logprobs)
        means.append(float((difference.exp() - difference - 1).mean()))
    return statistics.fmean(means)


@pytest.mark.parametrize("method", list(Method))
def test_the_divergence_is_from_the_model_that_training_began_with(method, learn, tiny_model):
    """0 in the first update, then what the engine's log-probabilities and those of the start say, by hand.

    The weight is too small to pull, so that the figure alone is tested; a micro-batch without tokens does not count in
    it. With an adapter the start is the adapter
    switched off, which must be on again when the loss is computed: the log-probability gap says so.
    """
    figures, _, made = learn(
        steps_until(3),
        alter=one_lost,
        method=method,
        kl=1e-12,
        learning_rate=1e-2,
        micro_tokens=1,
        drop_constant=False,
    )

    assert figures[0]["kl"] == pytest.approx(0, abs=1e-9)
    assert figures[1]["kl"] > 1e-5
    for update, groups in zip(figures[1:], made[1:], strict=True):
        assert update["kl"] == pytest.approx(divergence(tiny_model, groups), rel=1e-2)
        assert update["logprob_gap"] < 1e-4


def test_a_pull_to_the_start_keeps_the_policy_near_it(learn):
    """Eight updates at the same rate: with a weight of 30 the divergence over the last four is less than half.

    That of one update says little, for it hangs on its prompts.
    """
    free, _, _ = learn(steps_until(8), kl=1e-12, learning_rate=1e-3)
    held, _, _ = learn(steps_until(8), kl=30.0, learning_rate=1e-3, folder="held")

    assert sum(update["kl"] for update in held[4:]) < sum(update["kl"] for update in free[4:]) / 2


def test_the_pull_to_the_start_goes_on_after_a_resume(learn, tiny_model):
    """The reference is the model that the run began with, not the checkpoint that it goes on from."""
    changes = {"kl": 1e-12, "learning_rate": 1e-2, "micro_tokens": 1, "drop_constant": False}
    learn(steps_until(2), **changes)
    figures, _, made = learn(steps_until(3, begin=3), **changes)

    assert figures[0]["kl"] == pytest.approx(divergence(tiny_model, made[0]), rel=1e-2)
    assert figures[0]["kl"] > 1e-4


def test_the_entropy_bonus_acts_below_its_target_alone(learn):
    """Taught to some 0.6 nats a token: below a target of 2 the weight grows by 0.005 an update, above one of 0.1 not.

    The first update has no entropy before it, and no bonus. Without one equal rewards move no weight.
    """
    below, folder, _ = learn(
        steps_until(3), alter=equal, drop_constant=False, entropy_target=2.0, entropy_bonus=0.1, save_steps=1, keep=9
    )
    above, other, _ = learn(
        steps_until(3), alter=equal, drop_constant=False, entropy_target=0.1, entropy_bonus=0.1, save_steps=1, keep=9,
        folder="other",
    )  # fmt: skip
    one, two, three = weights_of(folder)
    first, _, last = weights_of(other)

    assert [update["entropy_weight"] for update in below] == pytest.approx([0, 0.105, 0.11])
    assert [update["entropy_weight"] for update in above] == [0, 0, 0]
    assert moved(one, two) > 0
    assert moved(two, three) > 0
    assert moved(first, last) == 0


def test_the_bonus_raises_the_entropy(learn):
    """Nothing but the bonus pulls: the entropy of the last of eight updates is above that of the first two."""
    figures, _, _ = learn(
        steps_until(8), alter=equal, drop_constant=False, entropy_target=9.0, entropy_bonus=1.0, learning_rate=1e-3
    )

    assert figures[-1]["entropy"] > statistics.fmean(update["entropy"] for update in figures[:2]) + 0.1


def test_the_bonus_does_not_depend_on_how_much_goes_through_at_once(learn):
    """One row, two or four at once, of a group that tells nothing and one that lost a row: the same update."""

    def uneven(_, made):
        return replace(made, reward=1.0) if made.id <= 4 else one_lost(_, made)

    norms = []
    for micro_tokens in (1, 100, 200):
        figures, _, _ = learn(
            steps_until(1), alter=uneven, entropy_bonus=0.5, micro_tokens=micro_tokens, folder=f"learner-{micro_tokens}"
        )
        norms.append(figures[0]["gradient_norm"])

    assert norms[1:] == pytest.approx([norms[0]] * 2, rel=1e-4)


@pytest.mark.parametrize("loss", list(Loss))
def test_of_the_samples_that_are_learned_from_the_loss_is_a_mean(loss, bench):
    """Two of four pull as the same two alone do, in policy, divergence and bonus: two updates are the same."""
    _, search, _ = bench()
    fours = [
        tuple(replace(made, reward=(0.0, 0.5, 0.5, 1.0)[made.completion.sample]) for made in group)
        for group in search.step(1)
    ]
    pairs = [
        tuple(replace(made, completion=replace(made.completion, sample=place)) for place, made in enumerate(group[::3]))
        for group in fours
    ]
    changes = {"loss": loss, "kl": 1.0, "entropy_bonus": 0.1, "learning_rate": 1e-3, "logprob_bound": 9.0}
    two_of_four, of_four, _ = bench(folder="two-of-four", samples=4, trained_samples=2, **changes)
    two_of_four.run(lambda _: fours, steps_until(2))
    two, of_two, _ = bench(folder="two", samples=2, **changes)
    two.run(lambda _: pairs, steps_until(2))
    norms = [[update.values["gradient_norm"] for update in search.store.updates] for search in (of_four, of_two)]

    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_an_update_without_tokens_leaves_model_and_bonus_alone(learn):
    """From step 2 on all groups are dropped: that is no entropy of 0, and no momentum of step 1 moves a weight."""
    figures, folder, _ = learn(
        steps_until(3), alter=equal_later, entropy_target=2.0, entropy_bonus=0.1, save_steps=1, keep=9
    )
    one, two, three = weights_of(folder)

    assert [update["entropy_weight"] for update in figures] == pytest.approx([0, 0.105, 0.105])
    assert moved(one, two) == moved(two, three) == 0


def test_the_weight_of_the_bonus_goes_on_after_a_resume(learn):
    """Two updates, then one more from the checkpoint: 0.11 and not 0 again; nor more than a lower cap allows."""
    changes = {"entropy_target": 2.0, "entropy_bonus": 0.1}
    learn(steps_until(2), **changes)
    figures, _, _ = learn(steps_until(3, begin=3), **changes)
    capped, _, _ = learn(steps_until(4, begin=4), **changes, entropy_cap=0.02)

    assert figures[0]["entropy_weight"] == pytest.approx(0.11)
    assert math.isfinite(figures[0]["entropy"])
    assert capped[0]["entropy_weight"] == pytest.approx(0.02)


def test_the_weight_of_the_bonus_grows_to_its_cap_and_a_target_out_of_reach_is_said(learn):
    """Taught to some 0.6 nats: a target of 2 cannot be kept, only run after, by 0.005 an update up to the cap."""
    told = []
    figures, _, _ = learn(
        steps_until(4), told=told, alter=equal, drop_constant=False, entropy_target=2.0, entropy_cap=0.008
    )
    quiet = []
    learn(steps_until(1), told=quiet, folder="other", entropy_target=0.1, entropy_cap=0.008)
    warning, at_the_cap = [line for line in told if "learner.entropy_target" in line]

    assert [update["entropy_weight"] for update in figures] == pytest.approx([0, 0.005, 0.008, 0.008])
    assert warning.startswith("learner.entropy_target=2 is above the entropy of the first update, 0.")
    assert at_the_cap.startswith("the entropy bonus weighs learner.entropy_cap=0.008, and the entropy, 0.")
    assert not [line for line in quiet if "learner.entropy_target" in line]


def test_a_paused_update_moves_no_weight_and_is_said(learn):
    """From step 2 on all replies are one program: the weights stand still, the search goes on, the log says why."""

    def copied(step, made):
        return replace(made, identity="the same") if step > 1 else made

    told = []
    figures, folder, made = learn(
        steps_until(3), alter=copied, told=told, learning_rate=1e-2, save_steps=1, keep=9, min_distinct=0.5
    )
    one, two, three = weights_of(folder)

    assert [update["paused"] for update in figures] == [0, 1, 1]
    assert [update["distinct"] for update in figures] == [1 / 2, 1 / 8, 1 / 8]
    assert moved(one, two) == moved(two, three) == 0
    assert figures[0]["gradient_norm"] > 0
    assert len(made) == 3
    assert ["nothing is learned from step" in line for line in told] == [False, True, True]
