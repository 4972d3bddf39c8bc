"""A policy's engine without vLLM: a second copy of the model that samples by itself, as an engine does."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from evolve.types import Completion, FinishReason, Message


class HfEngine:
    """Holds weights of its own, which change by `load_weights` and `load_adapter` alone.

    Args:
        model: A Hugging Face folder.
        max_tokens: Longest completion.
    """

    def __init__(self, model: Path, *, max_tokens: int) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(model)
        self._model: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        self._max_tokens = max_tokens
        self._generator = torch.Generator().manual_seed(0)
        self.versions: list[int] = []

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Return a prompt's tokens."""
        chat = [{"role": message.role, "content": message.content} for message in messages]
        return list(
            self._tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"]
        )

    def load_weights(self, weights: Iterable[tuple[str, Any]]) -> None:
        """Copy all weights."""
        loaded = self._model.load_state_dict({name: weight.clone() for name, weight in weights}, strict=False)
        assert not loaded.unexpected_keys

    def load_adapter(self, folder: Path, version: int) -> None:
        """Put the adapter in the place of the one before."""
        if isinstance(self._model, PeftModel):
            self._model = self._model.unload()
        self._model = PeftModel.from_pretrained(self._model, folder).eval()
        self.versions.append(version)

    def sleep(self) -> None:
        """Go on holding the memory."""

    @torch.no_grad()
    def complete(self, messages: Sequence[Message], samples: int) -> Iterator[Completion]:
        """Yield completions with the log-probabilities of what was drawn."""
        prompt = self.encode(messages)
        ids = torch.tensor([prompt] * samples)
        logprobs = torch.zeros(samples, 0)
        ended = torch.zeros(samples, dtype=torch.bool)
        end = self._tokenizer.eos_token_id
        while not ended.all() and logprobs.size(1) < self._max_tokens:
            distribution = torch.log_softmax(self._model(input_ids=ids).logits[:, -1].float(), -1)
            drawn = torch.multinomial(distribution.exp(), 1, generator=self._generator)
            drawn[ended] = end
            ids = torch.cat([ids, drawn], 1)
            logprobs = torch.cat([logprobs, distribution.gather(1, drawn)], 1)
            ended |= drawn[:, 0] == end
        for sample, (row, values) in enumerate(zip(ids[:, len(prompt) :].tolist(), logprobs.tolist(), strict=True)):
            length = row.index(end) + 1 if end in row else len(row)
            yield Completion(
                group=0,
                sample=sample,
                text=self._tokenizer.decode(row[:length], skip_special_tokens=True),
                tokens=length,
                prompt_tokens=len(prompt),
                finish_reason=FinishReason.STOP if end in row else FinishReason.LENGTH,
                token_ids=tuple(row[:length]),
                logprobs=tuple(values[:length]),
            )
