"""An engine that replays recorded completions: deterministic, without a model."""

import json
import threading
from collections.abc import Generator, Sequence
from pathlib import Path

from evolve.engine import estimated_prompt_tokens, estimated_tokens
from evolve.errors import ConfigError
from evolve.types import Completion, FinishReason, Request


class ScriptedEngine:
    """Gives line k of a file as the run's completion number k; past the last line it starts again.

    Which line a sample gets depends on `Request.first` and the sample's number alone: neither on timing nor on which
    samples a resumed step still lacks. Tokens are estimated (`evolve.engine.CHARACTERS_PER_TOKEN`).

    Args:
        file: JSON Lines, each `{"text": "the reply"}`.
        latency_s: How long after the call of `stream` its completions arrive; all are in flight at once.

    Raises:
        ConfigError: The file cannot be read, is empty, or one of its lines is not such an object.
    """

    def __init__(self, file: Path, *, latency_s: float) -> None:
        if latency_s < 0:
            raise ConfigError(f"engine.latency_s must be 0 or more, got {latency_s}")
        self._texts = _read(file)
        self._latency_s = latency_s
        self._waiting: set[threading.Event] = set()  # one for each stream; set when it is given up

    def stream(self, requests: Sequence[Request]) -> Generator[Completion, None, None]:
        """Yield the wanted completions, in the order of the requests, `latency_s` after the first is asked for."""
        if self._latency_s and any(request.samples for request in requests) and self._is_given_up_meanwhile():
            return
        for request in requests:
            prompt_tokens = estimated_prompt_tokens(request.messages)
            for sample in request.samples:
                text = self._texts[(request.first + sample) % len(self._texts)]
                yield Completion(
                    group=request.group,
                    sample=sample,
                    text=text,
                    tokens=estimated_tokens(text),
                    prompt_tokens=prompt_tokens,
                    finish_reason=FinishReason.STOP,
                    seconds=self._latency_s,
                )

    def give_up(self) -> None:
        """End the streams whose completions have not arrived yet."""
        for given_up in self._waiting.copy():
            given_up.set()

    def close(self) -> None:
        """Nothing is held, and streams that are open come to nothing."""
        self.give_up()

    def _is_given_up_meanwhile(self) -> bool:
        given_up = threading.Event()
        self._waiting.add(given_up)
        try:
            return given_up.wait(self._latency_s)
        finally:
            self._waiting.remove(given_up)


def _read(file: Path) -> list[str]:
    try:
        # By lines of bytes: text may hold characters, U+2028 for one, at which `str.splitlines` would cut it.
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"engine.file={file} cannot be read ({error.strerror}); name a file of JSON lines") from error
    texts = [_text(line, where=f"line {number} of engine.file={file}") for number, line in enumerate(lines, start=1)]
    if not texts:
        raise ConfigError(f'engine.file={file} is empty; give one {{"text": "..."}} a line')
    return texts


def _text(line: bytes, *, where: str) -> str:
    try:
        reply = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f'{where} is not JSON ({error}); write {{"text": "..."}}') from error
    if not isinstance(reply, dict) or not isinstance(reply.get("text"), str):
        raise ConfigError(f'{where} holds no text; write {{"text": "..."}}')
    if unknown := sorted(reply.keys() - {"text"}):
        raise ConfigError(f"{where} has unknown keys {', '.join(unknown)}; only `text` is read")
    text: str = reply["text"]
    return text
