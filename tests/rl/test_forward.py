"""The packed forward gives what an ordinary one gives, completion by completion."""

import copy

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)
from trl.trainer.utils import add_fused_lm_head

from rl.errors import UnsupportedAttentionError
from rl.forward import ATTENTION, Tree, pack, score

SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
PROMPTS = ([7, 8, 9, 10, 11], [7, 8, 9, 10, 11], [3], [3], [4, 5, 6])
COMPLETIONS = ([1, 2, 3], [4], [5, 6], [], [7, 8, 9, 1])


def ordinary(model, prompt, completion):
    """Return scores and entropies of a completion's tokens from a forward of its own."""
    logits = model(input_ids=torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1].float()
    logps = (logits / 0.7).log_softmax(-1)
    return logps[range(len(completion)), completion], -(logps.exp() * logps).sum(-1)


def padded(rows, *, left):
    """Return tokens and mask of rows of different lengths."""
    width = max(map(len, rows))
    blanks = [[0] * (width - len(row)) for row in rows]
    ids = [blank + row if left else row + blank for blank, row in zip(blanks, rows, strict=True)]
    ones = [[1] * len(row) for row in rows]
    mask = [blank + one if left else one + blank for blank, one in zip(blanks, ones, strict=True)]
    return torch.tensor(ids), torch.tensor(mask)


def two(kind, config):
    """Return the same random model twice: as transformers runs it, and with the shared prompt."""
    torch.manual_seed(0)
    usual = kind._from_config(copy.deepcopy(config), attn_implementation="eager")
    ours = kind._from_config(copy.deepcopy(config), attn_implementation=ATTENTION)
    ours.load_state_dict(usual.state_dict())
    add_fused_lm_head(ours, temperature=0.7, outputs=("log_probs", "entropy"))
    return usual, ours


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (LlamaForCausalLM, LlamaConfig(**SIZES)),
        (MistralForCausalLM, MistralConfig(**SIZES, sliding_window=3)),
    ],
    ids=["all tokens seen", "window of three"],
)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_scores_and_gradients_are_those_of_an_ordinary_forward(kind, config, checkpointing):
    """Two share a prompt, two one of a single token, one has its own; one is empty; heads share keys."""
    usual, ours = two(kind, config)
    if checkpointing:
        ours.gradient_checkpointing_enable()
    (prompts, prompt_mask), (completions, mask) = padded(PROMPTS, left=True), padded(COMPLETIONS, left=False)

    logps, entropies = score(ours, prompts, completions, prompt_mask, mask)
    alone = [ordinary(usual, *pair) for pair in zip(PROMPTS, COMPLETIONS, strict=True)]
    for row, (own_logps, own_entropies) in enumerate(alone):
        assert logps[row, : len(own_logps)].tolist() == pytest.approx(own_logps.tolist(), abs=1e-5)
        assert entropies[row, : len(own_logps)].tolist() == pytest.approx(own_entropies.tolist(), abs=1e-5)
        assert not logps[row, len(own_logps) :].any()

    (logps * mask.cumsum(1)).sum().backward()
    sum((own * torch.arange(1, len(own) + 1)).sum() for own, _ in alone).backward()
    for (name, mine), (_, theirs) in zip(ours.named_parameters(), usual.named_parameters(), strict=True):
        assert torch.allclose(mine.grad, theirs.grad, atol=1e-4), name


def test_a_prompt_is_laid_down_once_for_its_neighbours():
    """Each branch begins with the prompt's last token, which foretells the first of the completion."""
    packed = pack([([1, 2, 3], [4, 5]), ([1, 2, 3], [6]), ([9], [8])])

    assert packed.ids == (1, 2, 3, 4, 3, 9)
    assert packed.positions == (0, 1, 2, 3, 2, 0)
    assert packed.targets == (-100, -100, 4, 5, 6, 8)
    assert packed.trees == (Tree(0, 2, (2, 1)), Tree(5, 0, (1,)))


def test_an_attention_that_the_forward_does_not_know_is_refused():
    """Gemma 2 caps its products softly; without the cap the scores would be wrong."""
    model = Gemma2ForCausalLM._from_config(Gemma2Config(**SIZES), attn_implementation=ATTENTION)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    one = torch.ones((1, 1), dtype=torch.long)

    with pytest.raises(UnsupportedAttentionError, match="has a soft cap; take another model"):
        score(model, one, one, one, one)
