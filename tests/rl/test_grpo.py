"""The learner on a real trainer and a tiny model: updates, what is checked, what stops it, and how it goes on."""

import json
import math
from dataclasses import replace

import pytest

from evolve.errors import ConfigError
from rl.checkpoint import checkpoints
from tests.rl.toy import NumberSearch, report, steps_until

# torch and its friends warn of their own deprecations.
pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore")]


def weights_of(checkpoint):
    """Return all tensors of a checkpoint by name."""
    from safetensors.torch import load_file

    (file,) = [*checkpoint.glob("model.safetensors"), *checkpoint.glob("adapter_model.safetensors")]
    return load_file(file)


def moved(one, two):
    """Return by how much two sets of weights differ at most."""
    return max(float((one[name] - two[name]).abs().max()) for name in one)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_engine_and_trainer_hold_the_same_policy_after_every_update(method, bench, tmp_path):
    """Three updates with a step size that moves the weights; the gap of log-probabilities stays within rounding."""
    from rl.settings import Method

    learner, search, _ = bench(method=Method(method), learning_rate=3e-3)
    learner.run(search.step, steps_until(3))
    updates = search.store.updates

    assert [update.step for update in updates] == [1, 2, 3]
    assert all(update.values["logprob_gap"] < 1e-5 for update in updates)
    assert all(update.values["gradient_norm"] > 0 for update in updates)
    assert all(update.values["importance_mean"] == pytest.approx(1, abs=1e-4) for update in updates)
    if method == "lora":
        assert search.engine.versions == [1, 2, 3]
        assert not list(tmp_path.rglob("model.safetensors"))


def test_every_update_leaves_its_figures(bench):
    """Losses, ratios, entropy, shares and times; all finite."""
    learner, search, _ = bench()
    learner.run(search.step, steps_until(1))
    (update,) = search.store.updates

    assert all(math.isfinite(value) for value in update.values.values())
    assert update.values.keys() >= {
        *("loss", "gradient_norm", "clipped_low", "clipped_high", "logprob_gap", "importance_mean", "entropy"),
        *("reward", "reward_std", "valid", "lazy", "distinct", "truncated", "masked", "constant_groups", "staleness"),
        *("changed", "improved"),
        *("sync_s", "generate_s", "wait_s", "train_s"),
    }
    # Twelve tokens, of which three are digits that were taught to be uniform: 3 ln(10) / 12 = 0.58 nats a token.
    assert 0.3 < update.values["entropy"] < 0.9
    assert (update.values["generate_s"], update.values["wait_s"]) == (1.0, 0.5)


def test_without_weight_sync_the_run_is_stopped(bench):
    """The negative test: an engine that keeps its old weights is found out at the next step, and named."""
    from rl.errors import PolicyMismatchError
    from tests.rl.hf_engine import HfEngine

    class StaleEngine(HfEngine):
        def load_weights(self, weights):
            """Take them and do nothing."""

    learner, search, _ = bench(engine_class=StaleEngine, learning_rate=1e-2)
    with pytest.raises(PolicyMismatchError, match=r"disagree .* learner\.logprob_bound=0\.001"):
        learner.run(search.step, steps_until(5))

    assert [update.step for update in search.store.updates] == [1]


def test_a_token_is_weighted_by_how_much_likelier_the_trainer_finds_it(bench):
    """An engine that claims a tenth of every probability: the ratio is 10, counted as 2, and the gradient doubles."""
    from tests.rl.hf_engine import HfEngine

    class HumbleEngine(HfEngine):
        def complete(self, messages, samples):
            """Claim less."""
            for made in super().complete(messages, samples):
                yield replace(made, logprobs=tuple(value - math.log(10) for value in made.logprobs))

    honest, search, _ = bench()
    honest.run(search.step, steps_until(1))
    humble, other, _ = bench(engine_class=HumbleEngine, logprob_bound=9.0, folder="humble")
    humble.run(other.step, steps_until(1))
    (one,), (two,) = search.store.updates, other.store.updates

    assert two.values["importance_mean"] == pytest.approx(10, rel=1e-3)
    assert two.values["logprob_gap"] == pytest.approx(math.log(10), rel=1e-3)
    assert two.values["gradient_norm"] == pytest.approx(2 * one.values["gradient_norm"], rel=1e-3)


def test_a_log_probability_that_is_no_number_stops_the_run(bench):
    """NaN is above every bound."""
    from rl.errors import PolicyMismatchError
    from tests.rl.hf_engine import HfEngine

    class BrokenEngine(HfEngine):
        def complete(self, messages, samples):
            """Lose one number."""
            for made in super().complete(messages, samples):
                yield replace(made, logprobs=(math.nan, *made.logprobs[1:]))

    learner, search, _ = bench(engine_class=BrokenEngine)
    with pytest.raises(PolicyMismatchError, match="nan"):
        learner.run(search.step, steps_until(1))


def test_a_step_that_tells_nothing_moves_no_weight(bench):
    """Neither momentum nor decay acts where all rewards are equal, after an update that left momentum behind."""

    def equal(search, number):
        groups = NumberSearch.step(search, number)
        return [tuple(replace(made, reward=1.0) for made in group) for group in groups] if number > 1 else groups

    learner, search, told = bench(learning_rate=1e-2, save_steps=1, keep=9)
    learner.run(lambda number: equal(search, number), steps_until(3))
    (one, _), (two, _), (three, _) = checkpoints(learner._policy.folder)

    assert search.store.updates[0].values["constant_groups"] < 1
    assert search.store.updates[1].values["constant_groups"] == 1
    assert moved(weights_of(one), weights_of(two)) == moved(weights_of(two), weights_of(three)) == 0
    assert ["nothing is learned from step" in line for line in told] == [False, True, True]


def test_the_budget_ends_training_and_the_last_update_is_saved(bench):
    """Four steps, a checkpoint each three: those of updates 3 and 4, the second at the end."""
    learner, search, _ = bench(save_steps=3)
    learner.run(search.step, steps_until(4))

    assert [(path.name, mark.step) for path, mark in checkpoints(learner._policy.folder)] == [
        ("checkpoint-3", 3),
        ("checkpoint-4", 4),
    ]
    assert len(search.seen) == 4


def test_only_the_newest_checkpoints_are_kept(bench):
    """A half-made one goes, too."""
    learner, search, _ = bench(save_steps=1, keep=2)
    (learner._policy.folder / "checkpoint-77").mkdir(parents=True)
    learner.run(search.step, steps_until(4))

    assert sorted(path.name for path in learner._policy.folder.glob("checkpoint-*")) == ["checkpoint-3", "checkpoint-4"]


def test_no_step_means_no_trainer(bench):
    """A budget that is used up before the first step leaves nothing behind."""
    learner, search, _ = bench()
    learner.run(search.step, iter(()))

    assert search.store.updates == []
    assert not learner._policy.folder.exists()


def test_training_goes_on_where_it_stopped(bench):
    """Two updates, then two more from the checkpoint: weights, optimizer and the count of updates go on."""
    first, search, _ = bench(learning_rate=1e-3)
    first.run(search.step, steps_until(2))
    second, later, told = bench(learning_rate=1e-3)
    later.store.steps.extend(search.store.steps[1:])
    second.run(later.step, steps_until(4, begin=3))
    found = checkpoints(first._policy.folder)
    state = json.loads((found[-1][0] / "trainer_state.json").read_text(encoding="utf-8"))

    assert [(path.name, mark.step) for path, mark in found] == [("checkpoint-2", 2), ("checkpoint-4", 4)]
    assert state["global_step"] == 4
    assert [update.step for update in later.store.updates] == [3, 4]
    # The engine began anew with the old weights: that there is no gap shows that it was given the trained ones.
    assert later.store.updates[0].values["logprob_gap"] < 1e-5
    assert len(told) == 2
    assert all("learned from step" in line for line in told)


def test_a_resume_may_change_the_rate_and_the_decay(bench):
    """What the optimizer of the checkpoint knows of its own options would win: 1e-3 in the place of next to nothing."""
    first, search, _ = bench(learning_rate=1e-3, weight_decay=0.1, keep=9)
    first.run(search.step, steps_until(1))
    second, later, _ = bench(learning_rate=1e-12, weight_decay=0.2, keep=9)
    second.run(later.step, steps_until(3, begin=2))
    (one, _), (three, _) = checkpoints(first._policy.folder)

    assert all(update.values["gradient_norm"] > 0 for update in later.store.updates)
    assert moved(weights_of(one), weights_of(three)) < 1e-9


@pytest.mark.parametrize(("before", "after", "left"), [(1000, 1, [2, 3, 4, 5]), (1, 1000, [1, 2, 5])])
def test_a_resume_may_change_how_often_checkpoints_are_written(before, after, left, bench):
    """The checkpoint's own state would win: it holds the interval that it was made at."""
    first, search, _ = bench(save_steps=before, keep=9)
    first.run(search.step, steps_until(2))
    second, later, _ = bench(save_steps=after, keep=9)
    later.store.steps.extend(search.store.steps[1:])
    second.run(later.step, steps_until(5, begin=3))

    assert [mark.step for _, mark in checkpoints(first._policy.folder)] == left


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_resume_makes_the_weights_of_a_run_that_was_not_stopped(method, bench):
    """Four updates at a stretch and two and two: completions that depend on weights and step alone are the same."""
    from rl.settings import Method

    def seeded(search):
        search.before = search.engine._generator.manual_seed
        return search.step

    changes = {"method": Method(method), "learning_rate": 1e-3, "entropy_target": 2.0, "entropy_bonus": 0.01}
    whole, search, _ = bench(folder="whole", **changes)
    whole.run(seeded(search), steps_until(4))
    for first, last in ((1, 2), (3, 4)):
        part, again, _ = bench(folder="parts", **changes)
        again.store.steps.extend(search.store.steps[1:first])
        part.run(seeded(again), steps_until(last, begin=first))
    (one, _), (other, _) = (checkpoints(learner._policy.folder)[-1] for learner in (whole, part))

    assert one.name == other.name == "checkpoint-4"
    assert moved(weights_of(one), weights_of(other)) < 1e-6


def test_a_database_that_is_ahead_is_said_and_goes_on(bench):
    """After a kill between two checkpoints the search is at step 3 and the weights at step 2."""
    first, search, _ = bench()
    first.run(search.step, steps_until(2))
    second, later, told = bench()
    later.store.steps.extend([*search.store.steps[1:], report(3)])
    second.run(later.step, steps_until(4, begin=4))

    assert told[0] == (
        "the database is at step 3, the weights at step 2: they go on from there, and what was learned in between is "
        "lost"
    )
    assert [mark.step for _, mark in checkpoints(first._policy.folder)] == [2, 4]


def test_a_step_without_completions_has_nothing_to_lose(bench):
    """A merge makes such a step, and so does the end of the minutes; a resume after it does not speak of a loss."""
    first, search, _ = bench()
    first.run(search.step, steps_until(2))
    second, later, told = bench()
    later.store.steps.extend([*search.store.steps[1:], replace(report(3), attempts=0)])
    second.run(later.step, steps_until(4, begin=4))

    assert len(told) == 1
    assert "learned from step 4" in told[0]


def test_an_interrupt_between_updates_saves_what_was_learned(bench):
    """Ctrl-C in step 3, which was being decoded: update 2 is kept."""

    def interrupt(number):
        if number == 3:
            raise KeyboardInterrupt

    learner, search, _ = bench()
    search.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        learner.run(search.step, steps_until(9))

    assert [(path.name, mark.step) for path, mark in checkpoints(learner._policy.folder)] == [("checkpoint-2", 2)]


def test_an_interrupt_writes_no_checkpoint_a_second_time(bench):
    """Ctrl-C in step 3, when the checkpoint of update 2 is complete: a second one could leave half of it."""
    written = []

    def interrupt(number):
        if number == 3:
            written.extend((learner._policy.folder / "checkpoint-2").iterdir())
            written[:] = [(path, path.stat().st_ino, path.stat().st_mtime_ns) for path in written]
            raise KeyboardInterrupt

    learner, search, _ = bench(save_steps=1)
    search.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        learner.run(search.step, steps_until(9))

    assert written
    assert [(path, path.stat().st_ino, path.stat().st_mtime_ns) for path, _, _ in written] == written


@pytest.mark.parametrize(("at", "left"), [(1, []), (2, [("checkpoint-1", 1)])])
def test_a_step_that_was_made_and_not_learned_from_is_not_in_the_checkpoint(at, left, bench):
    """Ctrl-C when a step is made and its update is not: a resume must say that what it tells is lost."""
    from tests.rl.hf_engine import HfEngine

    class InterruptedEngine(HfEngine):
        naps = 0

        def sleep(self):
            """Be interrupted when the step is made."""
            self.naps += 1
            if self.naps == at:
                raise KeyboardInterrupt

    learner, search, _ = bench(engine_class=InterruptedEngine)
    with pytest.raises(KeyboardInterrupt):
        learner.run(search.step, steps_until(9))

    assert len(search.seen) == at
    assert [(path.name, mark.step) for path, mark in checkpoints(learner._policy.folder)] == left


@pytest.mark.parametrize(("share", "file"), [(0.5, "model.safetensors"), (1.5, "optimizer.pt")])
def test_a_full_disk_is_said_and_leaves_the_last_checkpoint(share, file, bench, tiny_model):
    """No file may outgrow half of the weights, or the weights by half, which the moments do: one line says it."""
    import resource

    from rl.errors import CheckpointError

    learner, search, _ = bench(save_steps=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = int(share * (tiny_model / "model.safetensors").stat().st_size)

    def fill(number):
        if number == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))

    search.before = fill
    try:
        with pytest.raises(CheckpointError, match=r"cannot be written to .*: free some space there, for 3 ") as why:
            learner.run(search.step, steps_until(9))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert "\n" not in str(why.value)
    assert (learner._policy.folder / "checkpoint-1" / file).stat().st_size > limit
    assert [path.name for path, _ in checkpoints(learner._policy.folder)] == ["checkpoint-1"]


def test_a_checkpoint_of_another_model_is_refused(bench, tiny_model, tmp_path):
    """The same architecture with other weights is another model."""
    import shutil

    learner, search, _ = bench()
    learner.run(search.step, steps_until(1))
    other = shutil.copytree(tiny_model, tmp_path / "other")
    weights = other / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    another, later, _ = bench(model=other)

    with pytest.raises(ConfigError, match=r"was trained from .* which is not the model given"):
        another.run(later.step, steps_until(2, begin=2))
    assert later.seen == []


def test_running_out_of_memory_is_said_with_its_cures(bench):
    """The library's own error becomes one line."""
    import torch

    from rl.errors import TrainingMemoryError

    def full(_):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 GiB.")

    learner, search, _ = bench()
    search.before = full
    with pytest.raises(TrainingMemoryError, match=r"Tried to allocate 20 GiB.*learner\.micro_tokens"):
        learner.run(search.step, steps_until(1))


@pytest.mark.slow
def test_reward_rises_over_thirty_steps(bench):
    """The mean number of a reply goes from the taught 0.5 to well above: what GRPO is for."""
    learner, search, _ = bench(parents=4, samples=8, learning_rate=1e-3, micro_tokens=512)
    learner.run(search.step, steps_until(30))
    first, last = sum(search.seen[:5]) / 5, sum(search.seen[-5:]) / 5

    assert 0.4 < first < 0.65
    assert last > first + 0.15
