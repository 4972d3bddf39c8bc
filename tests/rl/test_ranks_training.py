"""Two processes train as one does: the same update from the same rows, with whole and with sharded weights."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore")]
ROOT = Path(__file__).parents[2]


def two_processes(folder, model, rows, *words):
    """Run `tests.rl.ranks_program` in two processes to their end."""
    folder.mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = [sys.executable, "-m", "tests.rl.ranks_program", str(folder), str(model), str(rows), *words]
    started = [
        subprocess.Popen(
            ["env", "OMP_NUM_THREADS=1", *_launch(rank, port), *command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    for process in started:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output


def _launch(rank, port):
    """Return what a launcher tells a process."""
    said = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    return [f"{name}={value}" for name, value in {**said, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items()]


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    """Three updates by one process, by two, and by two with sharded weights, resumed for the third."""
    from tests.rl.ranks_program import main

    place = tmp_path_factory.mktemp("ranks")
    rows = place / "rows"
    rows.mkdir()
    (place / "one").mkdir()
    main(place / "one", tiny_model, rows, 1, 3)
    two_processes(place / "two", tiny_model, rows, "1", "3")
    two_processes(place / "sharded", tiny_model, rows, "1", "2", "sharded")
    two_processes(place / "sharded", tiny_model, rows, "3", "3", "sharded")
    return place


def weights_of(checkpoint):
    """Return all tensors of a checkpoint by name, the output's, which is the embedding, left out."""
    from safetensors.torch import load_file

    tensors = load_file(checkpoint / "model.safetensors")
    return {name: tensor for name, tensor in tensors.items() if name != "lm_head.weight"}


def distance(one, two):
    """Return the mean distance of two sets of weights."""
    total = sum(float((one[name] - two[name]).abs().sum()) for name in one)
    return total / sum(tensor.numel() for tensor in one.values())


@pytest.mark.parametrize("kind", ["two", "sharded"])
def test_two_processes_make_the_update_of_one(kind, trained, tiny_model):
    """After three updates, one of them resumed: the weights differ by rounding, a millionth of how they moved."""
    one = weights_of(trained / "one" / "learner" / "checkpoint-3")
    other = weights_of(trained / kind / "learner" / "checkpoint-3")
    moved = distance(one, weights_of(tiny_model))

    assert moved > 1e-4
    assert distance(one, other) < 1e-5 * moved


@pytest.mark.parametrize("kind", ["two", "sharded"])
def test_both_engines_hold_the_trainers_weights(kind, trained):
    """The last sync came before the third update: every rank's engine has the weights of the second."""
    import torch

    weights = weights_of(trained / kind / "learner" / "checkpoint-2")
    for rank in (0, 1):
        served = torch.load(trained / kind / f"engine-{rank}.pt")

        assert all(torch.equal(served[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize("kind", ["two", "sharded"])
def test_the_figures_are_those_of_all_ranks(kind, trained):
    """Loss aside, which is 0 but for rounding: gradient norm, entropy and gaps are as if one process had seen all."""
    said = {name: json.loads((trained / name / "said-0.json").read_text()) for name in ("one", kind)}
    one, other = said["one"]["figures"]["3"], said[kind]["figures"]["3"]

    for name in ("gradient_norm", "entropy", "reward", "completion_tokens", "importance_mean"):
        assert other[name] == pytest.approx(one[name], rel=1e-3), name
    assert other["logprob_gap"] < 1e-5


def test_each_rank_decodes_its_share(trained):
    """Three steps of two groups of four: 12 completions by each."""
    made = [json.loads((trained / "two" / f"said-{rank}.json").read_text())["made"] for rank in (0, 1)]

    assert made == [12, 12]


def test_the_threads_of_the_process_group_end_with_it(trained):
    """One that outlived it would abort the process now and then; weights that are sharded keep theirs, idle."""
    for rank in (0, 1):
        threads = json.loads((trained / "two" / f"said-{rank}.json").read_text())["threads"]

        assert threads
        assert not [name for name in threads if "gloo" in name]
