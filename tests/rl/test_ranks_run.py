"""A whole run of two processes under `accelerate launch`: two engines, one database; one is killed, and it goes on."""

import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.rl.test_learning_run import ONE_THREAD, WORDS, rows, trainings

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs the extra `cpu`"),
]
LAUNCH = (
    *(*ONE_THREAD, sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
    *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
    *("-m", "evolve"),
)


def launch(folder, *words):
    """Start a command in two processes."""
    return subprocess.Popen([*LAUNCH, *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ranks_of(launcher):
    """Return the process ids of the ranks, by rank."""
    found = {}
    for child in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split():
        for variable in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            if variable.startswith(b"RANK="):
                found[int(variable[5:])] = int(child)
    return found


@pytest.fixture(scope="module")
def bereft(tiny_model, tmp_path_factory):
    """A run whose rank 1 was killed after the second update, and which went on: its folder, and how it ended."""
    folder = tmp_path_factory.mktemp("ranks-run")
    run = folder / "run"
    launcher = launch(folder, *WORDS, f"model={tiny_model}", "budget.steps=500", f"run.dir={run}")
    deadline = time.monotonic() + 300
    try:
        while len(trainings(run)) < 2 and launcher.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        ranks = ranks_of(launcher)
        subprocess.run(["kill", "-9", str(ranks[1])], check=True)
        output, _ = launcher.communicate(timeout=90)
    finally:
        if launcher.poll() is None:
            launcher.send_signal(signal.SIGKILL)
    ((finished,),) = rows(run, "select max(step) from steps")
    resumed = launch(folder, "resume", f"run={run}", f"budget.steps={finished + 2}")
    went_on, _ = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, went_on
    return run, output, launcher.returncode, ranks, finished


def test_a_rank_that_is_killed_ends_the_run_in_a_clear_line(bereft):
    """Rank 0 says which one and what to do, and no process is left."""
    run, output, code, ranks, _ = bereft

    assert code != 0
    assert "evolve run: rank 1 of 2 has ended before the others" in output
    assert f"go on with: evolve resume run={run}" in output
    assert not [rank for rank, process in ranks.items() if Path(f"/proc/{process}/cmdline").exists()]


def test_one_database_holds_every_attempt_once(bereft):
    """Two groups of eight a step, one from each engine, which draw differently; the killed step was made whole."""
    run, _, _, _, finished = bereft
    made = rows(run, "select step, id, reply from attempts where step > 0 order by id")

    assert [number for _, number, _ in made] == list(range(1, 16 * (finished + 2) + 1))
    replies = {step: [reply for of, _, reply in made if of == step] for step in range(1, finished + 3)}
    assert {len(each) for each in replies.values()} == {16}
    assert replies[1][:8] != replies[1][8:]  # later ones may be alike: the policy has learned to say one thing


def test_every_engine_serves_what_the_trainer_holds_before_and_after(bereft):
    """The largest gap over the tokens of both engines is rounding in every update, those after the resume too."""
    run, _, _, _, finished = bereft
    updates = trainings(run)

    assert {finished + 1, finished + 2} <= set(updates)
    assert all(values["logprob_gap_max"] < 1e-4 for values in updates.values())
