"""What the trainer finds of the step's own tokens, gathered over the micro-batches of an update."""

from typing import Any

import torch


class TokenScores:
    """Collects, for the tokens in the loss, how engine and trainer differ and how open the policy is."""

    def __init__(self) -> None:
        self._gaps: list[Any] = []
        self._entropies: list[Any] = []
        self._fresh: list[Any] = []

    def add(self, gaps: Any, entropies: Any, fresh: Any) -> None:
        """Take one micro-batch's tokens.

        Args:
            gaps: `(T,)` log-probabilities under the trainer minus those under the engine.
            entropies: `(T,)` of the distribution that each token was drawn from, in nats.
            fresh: `(T,)` whether the weights at hand have drawn it.
        """
        self._fresh.append(fresh)
        self._gaps.append(gaps.float())
        self._entropies.append(entropies.float())

    def gather(self, accelerator: Any) -> None:
        """Take in what the other ranks have collected; all do so at the same time, once for an update."""
        if accelerator.num_processes == 1:
            return
        parts = (self._gaps, self._entropies, self._fresh)
        blank = torch.zeros(0, device=accelerator.device)
        scores = torch.stack([torch.cat(values).float() if values else blank for values in parts])
        marked = torch.cat([scores, torch.ones_like(scores[:1])])  # what only fills up is marked 0
        everything = accelerator.gather(accelerator.pad_across_processes(marked.T.contiguous()))
        gaps, entropies, fresh, _ = everything[everything[:, 3] == 1].T
        self._gaps, self._entropies, self._fresh = [gaps], [entropies], [fresh.bool()]

    @property
    def gap(self) -> float:
        """Mean of |gap| over the fresh tokens; 0 without any."""
        gaps = torch.cat(self._gaps)[torch.cat(self._fresh)] if self._gaps else torch.zeros(0)
        return float(gaps.abs().mean()) if gaps.numel() else 0.0

    def take(self) -> dict[str, float]:
        """Return the figures of the update by name, and begin the next; nothing without tokens."""
        gap = self.gap
        gaps, entropies = [torch.cat(parts) if parts else torch.zeros(0) for parts in (self._gaps, self._entropies)]
        self._gaps, self._entropies, self._fresh = [], [], []
        if not gaps.numel():
            return {}
        ratios = gaps.exp()
        return {
            "logprob_gap": gap,
            "logprob_gap_max": float(gaps.abs().max()),
            "importance_min": float(ratios.min()),
            "importance_mean": float(ratios.mean()),
            "importance_max": float(ratios.max()),
            "entropy": float(entropies.mean()),
        }
