"""The trainer's forward: the completions of a group share one pass over their prompt, and nothing is padded.

The rows of a micro-batch are laid end to end, as trees: a prompt, then its completions one after the other.

    prompt A .. | completion 1 | completion 2 | .. | prompt B .. | completion 9 | ..

A completion's tokens see its prompt and what stands before them in the completion, at the positions that they would
have alone, so that every score is the one of an ordinary forward (`attend`). For 16 completions of 600 tokens to a
prompt of 2,000 that is a quarter of the tokens. Attention alone pads: its calls take a whole tree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from rl.errors import UnsupportedAttentionError

#: The name under which transformers knows `attend`.
ATTENTION = "shared_prompt"
#: Marks, in transformers, a position whose next token is not scored.
_NOT_SCORED = -100
#: What `attend` does not do, by the name under which transformers passes it.
_UNSUPPORTED = {"softcap": "a soft cap", "s_aux": "sinks"}


@dataclass(frozen=True, slots=True)
class Tree:
    """Where the tokens of one prompt and its completions stand.

    Attributes:
        start: Place of the first token.
        shared: Tokens that all completions see: the prompt without its last token.
        lengths: Tokens of each branch: the prompt's last token, which each needs to foretell its first, and the
            completion without its last one, which foretells nothing.
    """

    start: int
    shared: int
    lengths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Branches:
    """A tree's branches side by side, for one call of the attention: the shorter are padded to the longest.

    Attributes:
        tree: Whose they are.
        longest: T, tokens of the longest branch.
        taken: `(n * T,)` place of each token in the micro-batch; any place for padding.
        kept: `(sum of lengths,)` which of these are no padding, in the order of the micro-batch.
    """

    tree: Tree
    longest: int
    taken: Any
    kept: Any


@dataclass(frozen=True, slots=True)
class Packed:
    """A micro-batch laid end to end.

    Attributes:
        ids: `(L,)` tokens.
        positions: `(L,)` place of each in its own sequence.
        targets: `(L,)` the token to be scored at each place, or -100.
        trees: In their order.
    """

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    targets: tuple[int, ...]
    trees: tuple[Tree, ...]


def pack(rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Packed:
    """Lay rows of prompt and completion, both with tokens, end to end; neighbours with equal prompts share it."""
    ids: list[int] = []
    positions: list[int] = []
    targets: list[int] = []
    trees = []
    for prompt, group in groupby(rows, key=lambda row: tuple(row[0])):
        *shared, last = prompt
        start = len(ids)
        ids += shared
        positions += range(len(shared))
        targets += [_NOT_SCORED] * len(shared)
        lengths = []
        for _, completion in group:
            ids += [last, *completion][:-1]
            positions += range(len(shared), len(shared) + len(completion))
            targets += completion
            lengths.append(len(completion))
        trees.append(Tree(start, len(shared), tuple(lengths)))
    return Packed(tuple(ids), tuple(positions), tuple(targets), tuple(trees))


def branches(tree: Tree, device: Any) -> Branches:
    """Return a tree's branches side by side."""
    longest, first = max(tree.lengths), tree.start + tree.shared
    taken: list[int] = []
    kept: list[int] = []
    for row, length in enumerate(tree.lengths):
        taken += [*range(first, first + length), *[tree.start] * (longest - length)]
        kept += range(row * longest, row * longest + length)
        first += length
    return Branches(tree, longest, torch.tensor(taken, device=device), torch.tensor(kept, device=device))


def score(model: Any, prompts: Any, completions: Any, prompt_mask: Any, completion_mask: Any) -> tuple[Any, Any]:
    """Return log-probabilities and entropies of completions' tokens, both `(B, T)`, 0 where there is no token.

    A reference model's output layer gives no entropies; they are None then.

    Args:
        model: Loaded with the attention `ATTENTION`, with TRL's fused output layer.
        prompts: `(B, P)` tokens, padded on the left.
        completions: `(B, T)` tokens, padded on the right.
        prompt_mask: `(B, P)`, 1 at a token.
        completion_mask: `(B, T)`, 1 at a token.
    """
    inside = completion_mask.bool()
    packed = pack(
        [
            (prompt[-width:], completion[:length])
            for prompt, width, completion, length in zip(
                prompts.tolist(),
                prompt_mask.sum(1).tolist(),
                completions.tolist(),
                inside.sum(1).tolist(),
                strict=True,
            )
        ]
    )
    ids, positions, targets = torch.tensor(
        [packed.ids, packed.positions, packed.targets], device=completions.device
    ).unsqueeze(1)
    outputs = model(
        input_ids=ids,
        position_ids=positions,
        shift_labels=targets,
        fused_lm_head=True,
        trees=[branches(tree, ids.device) for tree in packed.trees],
    )
    scored = targets[0] != _NOT_SCORED

    def in_rows(values_1L: Any) -> Any:
        return torch.zeros(inside.shape, device=ids.device).masked_scatter(inside, values_1L[0][scored].float())

    return in_rows(outputs.log_probs), None if outputs.entropy is None else in_rows(outputs.entropy)


def attend(
    *inputs: Any,
    trees: Sequence[Branches],
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Any, None]:
    """Attend within trees; transformers calls this in every layer.

    Args:
        *inputs: The layer, then query, key and value, `(1, heads, L, width)`, of which the last two may have fewer
            heads; then the mask, which says nothing here.
        trees: Of the micro-batch.
        scaling: Of the products; None for one over the root of the width.
        dropout: Share of weights that are dropped.
        sliding_window: How many tokens back a token sees, itself included; None for all.
        **others: What else the model says of its attention.

    Returns:
        `(1, L, heads, width)`, and no weights.

    Raises:
        UnsupportedAttentionError: The model's attention has a soft cap or sinks.
    """
    _, query, key, value, *_ = inputs
    for name, words in _UNSUPPORTED.items():
        if others.get(name) is not None:
            raise UnsupportedAttentionError(words)
    # Under autocast the rotation leaves the first two in float32.
    query, key = query.to(value.dtype), key.to(value.dtype)

    def attended(queries: Any, keys: Any, values: Any) -> Any:
        """Return `(tokens, heads, width)`, row after row; the last query sees the last key."""
        mine, seen = queries.size(2), keys.size(2)
        mask = causal_lower_right(mine, seen)
        if sliding_window is not None and sliding_window < seen:
            back = torch.arange(seen - mine, seen, device=keys.device)[:, None] - torch.arange(seen, device=keys.device)
            mask = (back >= 0) & (back < sliding_window)
        out = scaled_dot_product_attention(queries, keys, values, mask, dropout, scale=scaling, enable_gqa=True)
        return out.transpose(1, 2).flatten(0, 1)

    parts = []
    for tree in trees:
        shared = [tensor[:, :, tree.tree.start :][:, :, : tree.tree.shared] for tensor in (query, key, value)]
        own = [
            tensor[0].index_select(1, tree.taken).unflatten(1, (-1, tree.longest)).transpose(0, 1)
            for tensor in (query, key, value)
        ]
        if tree.tree.shared:
            parts.append(attended(*shared))
        # What follows a branch's own tokens is padding, which none of them sees.
        keys, values = (
            torch.cat([before.expand(len(after), -1, -1, -1), after], 2)
            for before, after in zip(shared[1:], own[1:], strict=True)
        )
        parts.append(attended(own[0], keys, values).index_select(0, tree.kept))
    return torch.cat(parts).unsqueeze(0), None


AttentionInterface.register(ATTENTION, attend)
