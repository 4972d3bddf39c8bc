"""Step 3: the engines that sample completions, one file each, and what they share.

Each is an `evolve.protocols.Engine`. Import the one that is wanted: `evolve.engine.vllm` needs a local vLLM, the
others do not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evolve.errors import ConfigError
from evolve.types import Message

#: How many characters a token stands for where an engine cannot count: about right for English and Python under
#: byte-pair vocabularies of 50,000 to 200,000 tokens.
CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is drawn; the same for every completion of a run.

    Attributes:
        temperature: Divides the logits; 0 takes the likeliest token.
        top_p: Tokens outside the smallest set that holds this probability are never drawn; 1 keeps all.
        max_tokens: A completion that is longer is cut (`FinishReason.LENGTH`).
    """

    temperature: float
    top_p: float
    max_tokens: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ConfigError(f"sampling.temperature must be 0 or more, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"sampling.top_p must be above 0 and at most 1, got {self.top_p}")
        if self.max_tokens < 1:
            raise ConfigError(f"sampling.max_tokens must be at least 1, got {self.max_tokens}")


def estimated_tokens(text: str) -> int:
    """Return roughly how many tokens `text` has, rounded up.

    >>> estimated_tokens("def f(x):"), estimated_tokens("")
    (3, 0)
    """
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def estimated_prompt_tokens(messages: Sequence[Message]) -> int:
    """Return roughly how many tokens a prompt has, the chat template's own tokens aside."""
    return sum(estimated_tokens(message.content) for message in messages)
