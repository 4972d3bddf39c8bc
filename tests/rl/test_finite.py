"""What is no finite number, in a gradient or in a checkpoint, ends the run before it ends the model."""

import math
from dataclasses import replace

import pytest

from rl.checkpoint import checkpoints
from tests.rl.toy import steps_until

# torch and its friends warn of their own deprecations.
pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore")]


def are_finite(checkpoint):
    """Return whether all weights of a checkpoint are."""
    from safetensors.torch import load_file

    (file,) = [*checkpoint.glob("model.safetensors"), *checkpoint.glob("adapter_model.safetensors")]
    return all(bool(weight.isfinite().all()) for weight in load_file(file).values())


def break_weights(checkpoint):
    """Make the last of all weights NaN."""
    from safetensors.torch import load_file, save_file

    (file,) = [*checkpoint.glob("model.safetensors"), *checkpoint.glob("adapter_model.safetensors")]
    weights = load_file(file)
    weights[max(weights)].flatten()[-1] = math.nan
    save_file(weights, file, metadata={"format": "pt"})


def test_a_late_log_probability_that_is_no_number_moves_no_weight(bench):
    """What was late is not compared with the trainer's: the gradient shows it, before all weights are NaN."""
    from rl.errors import GradientError

    learner, search, _ = bench(save_steps=1, keep=9)

    def step(number):
        groups = list(search.step(number))
        if number == 1:  # the last attempt's evaluation ends while the next step is made
            *others, late = [made for group in groups for made in group]
            logprobs = (math.nan, *late.completion.logprobs[1:])
            search.store.stored[1] = [*others, replace(late, completion=replace(late.completion, logprobs=logprobs))]
        return [groups[0], groups[1][:-1]]  # which leaves a free row

    with pytest.raises(GradientError, match=r"gradient is no finite number \(nan\).* resume the run") as why:
        learner.run(step, steps_until(4))

    assert "\n" not in str(why.value)
    assert [update.step for update in search.store.updates] == [1]
    assert [(path.name, are_finite(path)) for path, _ in checkpoints(learner._policy.folder)] == [
        ("checkpoint-1", True)
    ]


def test_a_reward_that_is_too_large_moves_no_weight(bench):
    """An advantage of 1e39 is infinite in float32; by rank it is learned from as any other."""
    from rl.errors import GradientError

    def paying(search):
        def step(number):
            first, *others = search.step(number)
            return [(replace(first[0], reward=1e39), *first[1:]), *others]

        return step

    learner, search, _ = bench(advantage="dr_grpo", save_steps=1)
    with pytest.raises(GradientError, match=r"reward is too large .* learner\.advantage=rank"):
        learner.run(paying(search), steps_until(2))
    cured, again, _ = bench(advantage="rank", folder="cured")
    cured.run(paying(again), steps_until(2))

    assert search.store.updates == []
    assert not checkpoints(learner._policy.folder)
    assert [update.step for update in again.store.updates] == [1, 2]


def test_no_bound_is_named_where_a_log_probability_is_no_number():
    """NaN is above every bound, however high."""
    from rl.errors import PolicyMismatchError

    words = str(PolicyMismatchError(math.nan, 0.1))

    assert "raise the bound" not in words
    assert "engine.dtype=float32" in words


@pytest.mark.parametrize("method", ["full", "lora"])
def test_broken_weights_are_not_gone_on_from(method, bench):
    """One NaN of a checkpoint stops a resume, which says what to delete, and goes on from the one before then."""
    import shutil

    from rl.errors import BrokenWeightsError
    from rl.settings import Method

    first, search, _ = bench(method=Method(method), save_steps=1)
    first.run(search.step, steps_until(2))
    two, _ = checkpoints(first._policy.folder)[-1]
    break_weights(two)
    second, later, _ = bench(method=Method(method))
    later.store.steps.extend(search.store.steps[1:])
    with pytest.raises(BrokenWeightsError, match=rf"{two} are no finite numbers: delete that folder"):
        second.run(later.step, steps_until(3, begin=3))
    assert later.seen == []

    shutil.rmtree(two)
    third, last, told = bench(method=Method(method))
    last.store.steps.extend(search.store.steps[1:])
    third.run(last.step, steps_until(3, begin=3))
    assert told[0].startswith("the database is at step 2, the weights at step 1")
    assert are_finite(checkpoints(first._policy.folder)[-1][0])


def test_of_several_gpus_a_process_takes_one(tmp_path):
    """Transformers counts all that it sees, and would divide each batch among them, which TRL refuses to do."""
    from rl.trainer import _arguments
    from tests.rl.toy import SETTINGS

    arguments = _arguments(SETTINGS, tmp_path, 1)
    arguments._n_gpu = 2  # as transformers does where it sees two

    assert arguments.n_gpu == 1
    assert arguments.train_batch_size == SETTINGS.micro_rows
