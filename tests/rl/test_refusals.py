"""What a learner refuses before any engine is started: each in one line that names the cure."""

import json
import os
import struct
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from support import TRIVIAL

from evolve.compose import check_learner
from evolve.errors import ConfigError
from evolve.launch import Place
from evolve.options import parse_options
from evolve.run_folder import RunFolder
from evolve.training import available_bytes, grpo_settings
from rl.memory import Machine, check_memory, needed_bytes
from rl.settings import Method
from tests.rl.toy import SETTINGS

GIB = 2**30
WORDS = (f"problem.path={TRIVIAL}", "learner=grpo", "learner.report_to=[]")


def config_json(hidden: int, layers: int) -> str:
    """Return what of a model's configuration the estimate reads."""
    return json.dumps({"hidden_size": hidden, "num_hidden_layers": layers, "intermediate_size": 6 * hidden})


@pytest.fixture
def large_model(tmp_path):
    """A folder whose weights claim 1.5 billion parameters."""
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "config.json").write_text(config_json(1536, 28), encoding="utf-8")
    header = json.dumps({"w": {"dtype": "BF16", "shape": [1500, 1000, 1000], "data_offsets": [0, 0]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return folder


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("rollout.samples=1",), r"rollout\.samples must be at least 2"),
        (("learner.overlap=true", "learner.sleep=true"), r"overlap=true .*, learner\.sleep=true cannot"),
        (("learner.overlap=true", "learner.refills=1"), r"overlap=true .*, learner\.refills=1 cannot"),
        (("learner.trained_samples=9", "rollout.samples=8"), r"trained_samples=9 is more .* rollout\.samples=8"),
        (("learner.lora_rank=64",), r"lora_rank=64 does nothing with .*=full: say learner\.method=lora, or .* at 32"),
        (
            ("learner.entropy_cap=0.5",),
            r"entropy_cap=0\.5 does nothing .*: say learner\.entropy_target, or .* at 0\.03",
        ),
        (("sampling.top_p=0.9",), r"sampling\.top_p must be 1, not 0\.9"),
        (("sampling.temperature=0",), r"sampling\.temperature must be above 0"),
        (("engine=server", "model=m"), r"needs engine=vllm, not server"),
        (
            ("learner.report_to=[nowhere]",),
            r"learner\.report_to=nowhere is no tracker: it must be one of .*tensorboard",
        ),
        (
            ("learner.report_to=[azure_ml]",),
            r"report_to=azure_ml needs a package: pip install azureml-sdk, or say \[\]",
        ),
    ],
)
@pytest.mark.skipif(find_spec("trl") is None, reason="needs the extra `rl`")
@pytest.mark.filterwarnings("ignore")
def test_a_run_that_cannot_be_learned_from_is_refused(words, line, large_model, tmp_path):
    """Group size 1, options without effect, samples that are not the model's own, an engine elsewhere, no tracker."""
    with pytest.raises(ConfigError, match=line) as refused:
        check_learner(parse_options([*WORDS, *words]), large_model, RunFolder(tmp_path))

    assert "\n" not in str(refused.value)


@pytest.mark.skipif(find_spec("trl") is None, reason="needs the extra `rl`")
@pytest.mark.filterwarnings("ignore")
def test_steps_are_made_ahead_by_a_single_process_alone(large_model, tmp_path):
    """The others hear what to decode between two updates."""
    config = parse_options([*WORDS, "learner.overlap=true"])
    with pytest.raises(ConfigError, match=r"learner\.overlap=true needs a single process, and there are 2"):
        check_learner(config, large_model, RunFolder(tmp_path), Place(ranks=2, here=2))


@pytest.mark.parametrize(
    "word",
    [
        *("learner.advantage=best", "learner.loss=ppo", "learner.method=qlora", "learner.lora_rank=7"),
        *("learner.save_steps=0", "learner.keep=0", "learner.micro_tokens=0", "learner.learning_rate=0"),
        *("learner.importance_cap=0", "learner.logprob_bound=-1", "learner.refills=-1", "learner.entropy_bonus=-1"),
        "learner.trained_samples=1",
        *("learner.entropy_cap=0", "learner.learning_rate=nan", "learner.kl=inf"),
        *("learner.entropy_target=0", "learner.kl=-1", "learner.novelty=-1", "learner.min_distinct=1.1"),
        *("reward.near_edit=1.1", "reward.near_score=-0.1"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(word):
    """The message begins with the option."""
    with pytest.raises(ConfigError, match=word.partition("=")[0].replace(".", r"\.")):
        parse_options([*WORDS, word])


def test_a_bonus_that_begins_above_its_cap_is_refused():
    """The cap would undo it after one update; a bonus without a target has no cap."""
    with pytest.raises(ConfigError, match=r"learner\.entropy_bonus=0\.1 is above learner\.entropy_cap=0\.03"):
        parse_options([*WORDS, "learner.entropy_bonus=0.1", "learner.entropy_target=0.2"])
    parse_options([*WORDS, "learner.entropy_bonus=0.1"])


def test_the_frozen_learner_takes_no_options():
    """They would be ignored."""
    with pytest.raises(ConfigError, match=r"learner\.method"):
        parse_options([f"problem.path={TRIVIAL}", "learner.method=lora"])


def test_what_fits_is_not_refused(large_model):
    """The sizes of the H100: 1.5 billion parameters train beside an engine that takes less than half of 80 GB."""
    check_memory(large_model, 1_500_000_000, SETTINGS, Machine(total=79 * GIB, engine=35 * GIB, on_gpu=True))


def test_an_engine_that_leaves_too_little_is_refused_with_the_share_that_would_do(large_model):
    """At the default share of 0.85 twelve GiB are left."""
    machine = Machine(total=79 * GIB, engine=0.85 * 79 * GIB, on_gpu=True)
    with pytest.raises(
        ConfigError, match=r"takes about 2\d GiB.*the engine takes 67: say engine.gpu_memory_util"
    ) as why:
        check_memory(large_model, 1_500_000_000, SETTINGS, machine)
    share = float(str(why.value).rpartition("=")[2])

    check_memory(large_model, 1_500_000_000, SETTINGS, replace(machine, engine=share * machine.total))


def test_an_engine_that_sleeps_leaves_its_memory(large_model):
    """Weights and moments must fit beside it awake, all the rest while it sleeps."""
    machine = Machine(total=40 * GIB, engine=18 * GIB, on_gpu=True)

    with pytest.raises(ConfigError, match=r"learner\.sleep"):
        check_memory(large_model, 1_500_000_000, SETTINGS, replace(machine, total=26 * GIB))
    check_memory(large_model, 1_500_000_000, replace(SETTINGS, sleep=True), machine)


def test_the_start_beside_all_weights_takes_its_memory_and_beside_an_adapter_none(large_model):
    """A second model in float32 is 4 bytes a parameter, asleep or awake; an adapter is only switched off."""
    pulled = replace(SETTINGS, kl=0.01)
    added = needed_bytes(large_model, 10**9, pulled) - needed_bytes(large_model, 10**9, SETTINGS)
    lora, pulled_lora = replace(SETTINGS, method=Method.LORA), replace(pulled, method=Method.LORA)
    machine = Machine(total=39 * GIB, engine=20 * GIB, on_gpu=True)

    assert added == 4e9
    assert needed_bytes(large_model, 10**9, pulled_lora) == needed_bytes(large_model, 10**9, lora)
    # Awake 12 or 16 bytes of 1.5 billion parameters must fit into 19 GiB.
    check_memory(large_model, 1_500_000_000, replace(SETTINGS, sleep=True), machine)
    with pytest.raises(ConfigError, match=r"all weights beside its start \(learner\.kl\)"):
        check_memory(large_model, 1_500_000_000, replace(pulled, sleep=True), machine)


def test_an_adapter_needs_less(large_model):
    """The frozen model is neither in float32 nor has it moments."""
    full = needed_bytes(large_model, 1_500_000_000, SETTINGS)
    lora = needed_bytes(large_model, 1_500_000_000, replace(SETTINGS, method=Method.LORA))

    assert lora < full / 5


def test_without_a_gpu_the_message_says_what_would_fit(large_model):
    """1.5 billion parameters in 16 GiB do not train; half a billion do, or an adapter."""
    machine = Machine(total=16 * GIB, engine=4 * GIB, on_gpu=False)
    with pytest.raises(
        ConfigError, match=r"no GPU and 12 GiB.*model of 0\.7 billion parameters, or learner.method=lora"
    ):
        check_memory(large_model, 1_500_000_000, SETTINGS, machine)

    check_memory(large_model, 1_500_000_000, replace(SETTINGS, method=Method.LORA), machine)


def test_memory_that_only_holds_files_can_be_had(tmp_path):
    """Linux keeps files in memory that were read lately; a machine full of them can train all the same."""
    meminfo = tmp_path / "meminfo"
    lines = (
        "MemTotal:       24684092 kB",
        "MemFree:         1048576 kB",
        "MemAvailable:   20971520 kB",
        "HugePages_Total: 0",
    )
    meminfo.write_text("\n".join(lines) + "\n", encoding="ascii")

    assert available_bytes(meminfo) == 20 * GIB
    assert 0 < available_bytes(Path("/proc/meminfo")) <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("parents", "samples", "micro_tokens", "rows"),
    [
        (16, 16, 8192, 1),
        (16, 16, 16384, 8),
        (16, 16, 32768, 16),
        (2, 5, 11 * 1024, 1),
        (1, 6, 12 * 1024, 3),
        (2, 4, 10**9, 4),
        (2, 4, 1, 1),
    ],
)
def test_the_batch_always_divides(parents, samples, micro_tokens, rows):
    """The largest divisor of the group's completions whose longest possible ones and one prompt fit."""
    sizes = {"micro_tokens": micro_tokens, "max_model_len": 8192, "max_tokens": 1024}
    settings = replace(SETTINGS, parents=parents, samples=samples, **sizes)

    assert settings.micro_rows == rows


def test_a_whole_group_goes_through_the_trainer_at_once_by_default():
    """At 16 samples of the default length, so that its prompt is computed once."""
    config = parse_options([*WORDS, "rollout.samples=16"])
    settings = grpo_settings(config, config.learner, config.engine)

    assert settings.micro_rows == 16
    assert settings.most_tokens == config.engine.max_model_len + 15 * config.sampling.max_tokens


def test_without_the_extra_one_line_names_it(tmp_path):
    """The command ends with code 2 and leaves no folder behind."""
    script = (
        "import importlib.util as util, sys\n"
        "real = util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name in ('trl', 'peft') else real(name, package)\n"
        "from evolve.cli import call\n"
        "sys.exit(call(sys.argv[1:]))\n"
    )
    words = ("run", *WORDS, "engine=server", "model=m", "sandbox.require=none", f"run.dir={tmp_path / 'run'}")
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=100, check=False
    )

    assert done.returncode == 2
    assert "pip install 'thetaevolve[rl]'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_frozen_run_imports_no_learner(tmp_path):
    """The room stays closed, and torch with it, unless a learner is asked for."""
    script = (
        "import sys\n"
        "from evolve.cli import call\n"
        "code = call(sys.argv[1:])\n"
        "assert code == 0, code\n"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in ('rl', 'trl', 'torch')))\n"
    )
    replies = tmp_path / "replies.jsonl"
    replies.write_text('{"text": "nothing"}\n', encoding="utf-8")
    words = (
        *("run", f"problem.path={TRIVIAL}", "engine=scripted", f"engine.file={replies}", "budget.steps=1"),
        *("rollout.parents=1", "rollout.samples=1", "sandbox.require=none", f"run.dir={tmp_path / 'run'}"),
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=100, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"
