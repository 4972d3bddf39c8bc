"""What a verifier plays with: a program that answers questions, one at a time or many together."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


class Rule(Protocol):
    """A program as a verifier sees it, whatever process it runs in; what it raises passes through.

    Waiting for an answer costs more than the answer. Questions of which none depends on the answer to another are asked
    together.
    """

    def __call__(self, *arguments: object) -> object:
        """Return the answer to one question."""

    def answers(self, questions: Iterable[Sequence[object]]) -> Iterator[object]:
        """Yield the answer to each question, the arguments of one call, in order."""


@dataclass(frozen=True, slots=True)
class LocalRule:
    """A rule that is a function of this process."""

    function: Callable[..., object]

    def __call__(self, *arguments: object) -> object:
        """Return the answer to one question."""
        return self.function(*arguments)

    def answers(self, questions: Iterable[Sequence[object]]) -> Iterator[object]:
        """Yield the answer to each question, in order."""
        for arguments in questions:
            yield self.function(*arguments)
