"""From a GGUF file to a Hugging Face folder, on tiny files that are written here."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from evolve.errors import ModelError
from evolve.models import model_parameters, resolve_model

gguf = pytest.importorskip("gguf")
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

HIDDEN, HEADS, KV_HEADS, FEED_FORWARD, LAYERS = 64, 4, 2, 96, 2
WORDS = ["<unk>", "<s>", "<|im_end|>", "Ġa", "b", "c", "d", "Ġ", "a", "ab"]
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


def weights(generator):
    """Return the tensors of a tiny Llama under GGUF's names, float32."""
    shapes = {"token_embd.weight": (len(WORDS), HIDDEN), "output_norm.weight": (HIDDEN,)}
    for layer in range(LAYERS):
        shapes |= {
            f"blk.{layer}.attn_norm.weight": (HIDDEN,),
            f"blk.{layer}.ffn_norm.weight": (HIDDEN,),
            f"blk.{layer}.attn_q.weight": (HIDDEN, HIDDEN),
            f"blk.{layer}.attn_k.weight": (HIDDEN * KV_HEADS // HEADS, HIDDEN),
            f"blk.{layer}.attn_v.weight": (HIDDEN * KV_HEADS // HEADS, HIDDEN),
            f"blk.{layer}.attn_output.weight": (HIDDEN, HIDDEN),
            f"blk.{layer}.ffn_gate.weight": (FEED_FORWARD, HIDDEN),
            f"blk.{layer}.ffn_up.weight": (FEED_FORWARD, HIDDEN),
            f"blk.{layer}.ffn_down.weight": (HIDDEN, FEED_FORWARD),
        }
    return {name: generator.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


def write_gguf(file, tensors, *, template=TEMPLATE):
    """Write a tiny Llama; matrices whose rows are a multiple of 32 long as Q8_0, the others as float32."""
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name("tiny")
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(WORDS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_types([3, 3, 3] + [1] * (len(WORDS) - 3))
    writer.add_token_merges(["Ġ a", "a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    if template is not None:
        writer.add_chat_template(template)
    for name, tensor in tensors.items():
        if tensor.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quantize(tensor, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny model's file."""
    return write_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf", weights(np.random.default_rng(0)))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where the tiny model is converted to, once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def folder(tiny, cache):
    """The tiny model, converted."""
    return resolve_model(str(tiny), cache=cache, notify=lambda _: None)


def test_a_converted_model_loads_and_holds_the_file_s_numbers(folder):
    """Each weight is the dequantised one, rounded to bfloat16; the embeddings are tied, as the file has no output."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    loaded = model.state_dict()

    assert model.dtype == torch.bfloat16
    assert model.lm_head.weight is model.model.embed_tokens.weight
    expected = weights(np.random.default_rng(0))
    for ours, theirs in (
        ("token_embd", "model.embed_tokens"),
        ("blk.1.ffn_down", "model.layers.1.mlp.down_proj"),
        ("blk.0.attn_v", "model.layers.0.self_attn.v_proj"),
    ):
        kind = gguf.GGMLQuantizationType.Q8_0
        dense = gguf.dequantize(gguf.quantize(expected[f"{ours}.weight"], kind), kind)
        assert torch.equal(loaded[f"{theirs}.weight"], torch.from_numpy(dense).to(torch.bfloat16))
    assert torch.equal(loaded["model.norm.weight"], torch.from_numpy(expected["output_norm.weight"]).to(torch.bfloat16))
    # 10 words, 2 norms and 7 matrices a layer, one norm at the end, all by hand.
    layer = 2 * 64 + 2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64
    assert model_parameters(folder) == 10 * 64 + 64 + 2 * layer


def test_queries_and_keys_are_put_back_into_transformers_order(folder):
    """A GGUF interleaves the halves of a head's rotary dimensions: of 16 rows, 2i was row i and 2i + 1 row 8 + i."""
    from safetensors import safe_open

    kind = gguf.GGMLQuantizationType.Q8_0
    dense = gguf.dequantize(gguf.quantize(weights(np.random.default_rng(0))["blk.0.attn_q.weight"], kind), kind)
    order = [16 * head + 2 * (row % 8) + row // 8 for head in range(HEADS) for row in range(16)]

    with safe_open(folder / "model-00001.safetensors", "pt") as shard:
        found = shard.get_tensor("model.layers.0.self_attn.q_proj.weight")
    assert torch.equal(found, torch.from_numpy(dense[order]).to(torch.bfloat16))


def test_the_tokenizer_ends_where_the_file_says(folder):
    """Tokenizer and generation agree on the end-of-sequence token; the chat template is the file's."""
    from transformers import AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(folder)

    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|im_end|>", 2)
    assert 2 in GenerationConfig.from_pretrained(folder).eos_token_id
    assert tokenizer.apply_chat_template([{"role": "user", "content": "ab"}], tokenize=False) == "ab"


def test_the_second_time_nothing_is_converted(tiny, cache, folder, tmp_path):
    """Neither under another name: the file's hash decides."""
    copy = tmp_path / "other.gguf"
    copy.write_bytes(tiny.read_bytes())
    told = []

    assert resolve_model(str(copy), cache=cache, notify=told.append) == folder
    assert told == ["hashing other.gguf"]


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "Q2_K", "Q3_K", "F16", "F32"])
@pytest.mark.parametrize("shape", [(7, 256), (48, 512), (3, 16, 256)])
def test_larger_groups_change_no_bit(tmp_path, kind, shape):
    """Random bytes as blocks: the same floats, infinities and NaN included, as the gguf package gives row by row."""
    from evolve.models.gguf import _dequantised

    tensor_type = gguf.GGMLQuantizationType[kind]
    data_shape = gguf.quant_shape_to_byte_shape(shape, tensor_type)
    data = np.random.default_rng(0).integers(0, 256, data_shape, dtype=np.uint8)
    if kind in ("F16", "F32"):
        data = data.view({"F16": np.float16, "F32": np.float32}[kind])
    tensor = gguf.ReaderTensor("t", tensor_type, np.array(shape[::-1]), 0, 0, 0, data, None)

    with np.errstate(all="ignore"):
        expected, found = gguf.dequantize(data, tensor_type).reshape(shape), _dequantised(tensor)
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))


def test_a_file_that_is_no_gguf_is_refused(tmp_path):
    """By its first four bytes."""
    file = tmp_path / "model.gguf"
    file.write_bytes(b"PK\x03\x04 a zip archive")
    with pytest.raises(ModelError, match="is no GGUF file: it does not begin with GGUF"):
        resolve_model(str(file), cache=tmp_path / "cache", notify=lambda _: None)


def test_a_cut_or_foreign_file_is_refused_and_leaves_nothing(tiny, tmp_path):
    """Cut in its header, cut in its weights, short of a tensor, of an unknown kind."""
    cache = tmp_path / "cache"
    whole = tiny.read_bytes()
    lacking = weights(np.random.default_rng(0))
    del lacking["blk.1.ffn_up.weight"]
    write_gguf(tmp_path / "lacking.gguf", lacking)
    (tmp_path / "header.gguf").write_bytes(whole[:300])
    (tmp_path / "cut.gguf").write_bytes(whole[:-5000])
    (tmp_path / "foreign.gguf").write_bytes(whole.replace(b"llama", b"lhama"))

    for name in ("header", "cut", "lacking", "foreign"):
        with pytest.raises(ModelError, match=rf"{name}\.gguf cannot be read as a language model") as caught:
            resolve_model(str(tmp_path / f"{name}.gguf"), cache=cache, notify=lambda _: None)
        assert "\n" not in str(caught.value)
    assert [path.name for path in (cache / "models").iterdir()] == ["lock"]


def test_a_model_without_chat_template_is_refused(tmp_path):
    """It is a base model: it would not follow the prompt."""
    file = write_gguf(tmp_path / "base.gguf", weights(np.random.default_rng(0)), template=None)
    with pytest.raises(ModelError, match="lacks a chat template"):
        resolve_model(str(file), cache=tmp_path / "cache", notify=lambda _: None)


def test_a_kill_in_the_middle_leaves_no_half_model(tiny, tmp_path):
    """The killed process leaves its work, but no model and no child; the next one converts anew and sweeps up."""
    cache = tmp_path / "cache"
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from evolve.models import resolve_model\n"
        "def notify(words):\n"
        "    if words.startswith('dequantising'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "if __name__ == '__main__':\n"
        "    resolve_model(sys.argv[1], cache=Path(sys.argv[2]), notify=notify)\n"
    )
    file = tmp_path / "killed.py"
    file.write_text(script, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.getcwd()}  # noqa: TID251, PTH109
    killed = subprocess.run([sys.executable, file, tiny, cache], env=environment, check=False)

    assert killed.returncode == -signal.SIGKILL
    left = {path.name for path in (cache / "models").iterdir()}
    assert len(left) == 2
    assert not any(name.endswith("bfloat16") for name in left)
    folder = resolve_model(str(tiny), cache=cache, notify=lambda _: None)
    assert {path.name for path in (cache / "models").iterdir()} == {"lock", folder.name}
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"] == "llama"
