"""Whole runs of the command with `learner=grpo`: the tiny model served by vLLM, sandbox, database, and an export."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from support import TRIVIAL

from rl.checkpoint import checkpoints

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs the extra `cpu`"),
]
WORDS = (
    *("run", f"problem.path={TRIVIAL}", "learner=grpo", "engine.dtype=float32", "engine.max_model_len=600"),
    *("engine.max_num_seqs=16", "engine.kv_cache_gib=1", "sampling.max_tokens=24", "sampling.temperature=1"),
    *("rollout.parents=2", "rollout.samples=8", "rollout.late=0", "reward.lazy=none", "prompt.inspirations=0"),
    *("sandbox.require=none", "learner.logprob_bound=1e-3", "learner.learning_rate=3e-4", "learner.save_steps=1"),
)


#: A model this small is slower with more.
ONE_THREAD = ("env", "OMP_NUM_THREADS=1")


def evolve(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    return subprocess.run(
        [*ONE_THREAD, sys.executable, "-m", "evolve", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def rows(run: Path, query: str) -> list[tuple]:
    """Return what a query of a run's database gives; nothing while there is no database."""
    try:
        with sqlite3.connect(f"file:{run / 'evolve.db'}?mode=ro", uri=True) as connection:
            found = connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []
    connection.close()
    return found


def trainings(run: Path) -> dict[int, dict[str, float]]:
    """Return the figures of every update, by step."""
    return {step: json.loads(values) for step, values in rows(run, 'select step, "values" from trainings')}


@pytest.fixture(scope="module")
def killed_and_resumed(tiny_model, tmp_path_factory):
    """A run that was killed with -9 once its second update was stored, moved, and then resumed to its fourth step."""
    folder = tmp_path_factory.mktemp("learning")
    run = folder / "begun"
    process = subprocess.Popen(
        [
            *ONE_THREAD,
            sys.executable,
            "-m",
            "evolve",
            *WORDS,
            f"model={tiny_model}",
            "budget.steps=500",
            f"run.dir={run}",
        ],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 300
    try:
        while len(trainings(run)) < 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        output, _ = process.communicate()
    before = trainings(run)
    assert len(before) >= 2, output
    ((finished,),) = rows(run, "select max(step) from steps")
    run = run.rename(folder / "run")
    resumed = evolve(folder, "resume", f"run={run}", f"budget.steps={finished + 2}")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    return run, before, finished


def test_a_killed_run_goes_on_with_its_weights(killed_and_resumed):
    """No update is lost from the database, and the two steps after the resume are learned from by checked weights."""
    run, before, finished = killed_and_resumed
    after = trainings(run)

    assert {step: after[step] for step in before} == before
    assert {finished + 1, finished + 2} <= set(after)
    for values in after.values():
        assert values["logprob_gap"] < 1e-4
        assert values["gradient_norm"] >= 0
        assert {"generate_s", "wait_s", "sync_s", "train_s", "entropy", "distinct"} <= values.keys()
    updates = max(int(path.name.partition("-")[2]) for path in (run / "learner").glob("checkpoint-*"))
    # One or two updates may have had no checkpoint yet when the kill came.
    assert len(after) - 2 <= updates <= len(after)


def test_a_run_that_was_moved_learns_where_it_is_now(killed_and_resumed):
    """Its newest weights are of its last step, and nothing is written to where it began."""
    run, _, finished = killed_and_resumed
    newest, mark = checkpoints(run / "learner")[-1]

    assert mark.step == finished + 2, newest
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_what_was_learned_is_on_the_disk_for_tensorboard(killed_and_resumed):
    """Each session leaves its events."""
    run, _, _ = killed_and_resumed

    assert len(list((run / "learner" / "runs").rglob("events.out.tfevents.*"))) == 2


def test_the_export_is_a_model_that_others_load(killed_and_resumed, tmp_path):
    """Transformers loads the checkpoint's weights; vLLM serves them in a new run; the card tells their story."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run, _, finished = killed_and_resumed
    target = tmp_path / "exported"
    done = evolve(tmp_path, "export", f"run={run}", f"to={target}")
    assert done.returncode == 0, done.stderr

    tokenizer = AutoTokenizer.from_pretrained(target)
    model = AutoModelForCausalLM.from_pretrained(target)
    chat = [{"role": "user", "content": "Go on:"}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    answer = tokenizer.decode(model.generate(**ids, max_new_tokens=24, do_sample=False)[0])
    newest = max((run / "learner").glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
    trained = load_file(newest / "model.safetensors")
    card = (target / "README.md").read_text(encoding="utf-8")

    assert "def answer():" in answer
    assert all(torch.equal(value, trained[name]) for name, value in load_file(target / "model.safetensors").items())
    assert "base_model: tiny-program-writer" in card
    assert f"learned from step {finished + 2}" in card

    again = evolve(
        *(tmp_path, "run", f"problem.path={TRIVIAL}", f"model={target}", "engine.max_model_len=600"),
        *("engine.max_num_seqs=16", "engine.kv_cache_gib=1", "sampling.max_tokens=24", "rollout.parents=1"),
        *("rollout.samples=8", "prompt.inspirations=0", "sandbox.require=none", "budget.steps=1", "run.dir=again"),
    )
    assert again.returncode == 0, again.stderr
    replies = [
        json.loads(evolve(tmp_path, "show", "run=again", f"program={program}", "format=json").stdout)["reply"]
        for program in (1, 2, 3)
    ]
    assert any("def answer():" in reply for reply in replies)


def test_an_export_never_overwrites(killed_and_resumed, tmp_path):
    """A folder that holds something stays as it is."""
    run, _, _ = killed_and_resumed
    (tmp_path / "mine.txt").write_text("keep", encoding="utf-8")
    done = evolve(tmp_path, "export", f"run={run}", f"to={tmp_path}")

    assert done.returncode == 2
    assert "is not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_run_is_not_resumed_with_another_way_to_train(killed_and_resumed, tmp_path):
    """One line, exit code 2, and nothing is made or lost."""
    run, _, _ = killed_and_resumed
    before = trainings(run)
    done = evolve(tmp_path, "resume", f"run={run}", "learner.method=lora")

    assert done.returncode == 2
    assert "learner.method=full" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert trainings(run) == before


def test_the_next_step_is_made_beside_the_update(tiny_model, tmp_path):
    """Each of four steps is learned from once, from the second on with the weights one update on."""
    run = tmp_path / "run"
    words = ("learner.overlap=true", "learner.learning_rate=1e-5", "learner.logprob_bound=0.05", "budget.steps=4")
    done = evolve(tmp_path, *WORDS, *words, f"model={tiny_model}", f"run.dir={run}")
    updates = trainings(run)

    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(updates) == [1, 2, 3, 4]
    assert [updates[step]["staleness"] for step in range(1, 5)] == [0, 1, 1, 1]
    assert rows(run, "select count(*), min(reward) is not null from attempts where step > 0") == [(64, 1)]


def test_what_ends_an_update_ends_the_step_beside_it(tiny_model, tmp_path):
    """No engine agrees with its trainer to the last bit, so that the first update stops the run, and all of it."""
    run = tmp_path / "run"
    words = ("learner.overlap=true", "learner.logprob_bound=1e-12", "budget.steps=500")
    done = evolve(tmp_path, *WORDS, *words, f"model={tiny_model}", f"run.dir={run}")
    whole = rows(run, "select count(attempts.id) from steps join attempts using (step) where step > 0 group by step")

    assert done.returncode == 1
    assert "engine and trainer disagree" in done.stderr
    assert set(whole) == {(16,)}  # of the first, and of the second where it was quicker than the update
    assert trainings(run) == {}


def test_an_adapter_is_learned_served_and_exported(tiny_model, tmp_path):
    """The engine and the trainer agree after each swap; alone and merged the export is the same model."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run = tmp_path / "run"
    words = ("learner.method=lora", "learner.lora_rank=8", "learner.learning_rate=1e-2", "budget.steps=3")
    done = evolve(tmp_path, *WORDS, *words, f"model={tiny_model}", f"run.dir={run}")
    assert done.returncode == 0, done.stdout + done.stderr
    for form in ("merged", "adapter"):
        exported = evolve(tmp_path, "export", f"run={run}", f"to={tmp_path / form}", f"form={form}")
        assert exported.returncode == 0, exported.stderr

    ids = torch.arange(4, 40)[None]
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    untrained = base(input_ids=ids).logits
    alone = PeftModel.from_pretrained(base, tmp_path / "adapter")(input_ids=ids).logits
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(input_ids=ids).logits

    assert all(values["logprob_gap"] < 1e-4 for values in trainings(run).values())
    torch.testing.assert_close(merged, alone, atol=1e-4, rtol=1e-4)
    assert (alone - untrained).abs().max() > 0.01
