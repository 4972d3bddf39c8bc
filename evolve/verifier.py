"""The verifier's process: the only place where anything that a candidate says is decoded and judged.

It holds one end of a channel whose other end is the candidate's. For a construction it calls the entry point once
and judges the answer; for a rule it plays, calling the candidate at every move, so that a rule never sees what is to
come. The candidate's own process, its prints and its numbers decide nothing.
"""

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from evolve.types import Problem, ProblemKind, Verdict
from problems import Verifier, load_problem, load_verifier
from sandbox import frame

#: One answer of a candidate: JSON text and array blocks, in bytes.
ANSWER_BYTES = 1 << 20
ARRAY_BYTES = 16 << 20
#: Questions that are sent before the first of them is answered; sockets hold three times as much by default.
AHEAD_BYTES = 64 << 10
#: A seed as a text.
_SEED_BYTES = 1 << 10
#: A construction is at most one answer, as JSON text.
_REPLY_BYTES = 128 << 20
#: Violations that are listed of one construction.
MOST_VIOLATIONS = 10
#: What the other side asks for: a candidate is judged through a channel, or plays instances that a seed draws, which
#: follows; a construction is judged as it stands.
_JUDGE, _UNSEEN, _VERIFY = b"j", b"u", b"v"
#: How long a verifier that failed may take to end, and how much of its last line is shown.
_LAST_WORDS_S, _LAST_WORDS = 5.0, 300
#: The exit code of a Python process that an exception ended.
_UNCAUGHT = 1


class JudgementKind(StrEnum):
    """What the verifier came to."""

    VERDICT = "verdict"
    MALFORMED = "malformed"  #: the candidate's bytes are no answer
    GONE = "gone"  #: the candidate ended before it had answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The verifier's reply; `verdict` is there only for `VERDICT`, `reason` for `MALFORMED`.

    Attributes:
        violations: Of a construction that was given to be verified and is invalid, one line each, the worst first.
    """

    kind: JudgementKind
    verdict: Verdict | None = None
    reason: str = ""
    violations: tuple[str, ...] = ()


class VerifierError(Exception):
    """The verifier itself failed or took too long; never the candidate's fault."""


class NoVerifierError(VerifierError):
    """There is none: whoever lends them is closed, or the machine has no room for its process."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """The candidate at the other end of a channel: what a verifier asks goes there as frames, and so do its answers.

    Questions that are asked together are sent before the first is answered, at most `AHEAD_BYTES` of them. So much a
    socket takes without waiting; the candidate may be waiting itself, until its answers are read.
    """

    channel: socket.socket

    def __call__(self, *arguments: object) -> object:
        """Return the answer to one question.

        Raises:
            FrameError: The answer is no acceptable frame.
            EOFError: The candidate is gone.
        """
        return next(self.answers([arguments]))

    def answers(self, questions: Iterable[Sequence[object]]) -> Iterator[object]:
        """Yield the answer to each question, in order.

        Raises:
            FrameError: An answer is no acceptable frame.
            EOFError: The candidate is gone.
        """
        for together in _batches(frame.encode(list(arguments)) for arguments in questions):
            frame.send_encoded(self.channel, b"".join(together))
            for _ in together:
                yield frame.receive(self.channel, answer_bytes=ANSWER_BYTES, array_bytes=ARRAY_BYTES)


def _batches(frames: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield frames that follow one another, as many as are no longer than `AHEAD_BYTES` together, at least one."""
    batch: list[bytes] = []
    size = 0
    for encoded in frames:
        if batch and size + len(encoded) > AHEAD_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(encoded)
        size += len(encoded)
    if batch:
        yield batch


def judge(problem: Problem, verifier: Verifier, channel: socket.socket, unseen: int | None = None) -> Judgement:
    """Call the candidate at the other end of `channel`, judge its answers and close the channel.

    Args:
        problem: The problem.
        verifier: Its verifier.
        channel: To the candidate.
        unseen: Draws the instances that a rule is to play, instead of the problem's own.
    """
    candidate = Candidate(channel)
    try:
        with channel:
            if unseen is not None:
                return Judgement(kind=JudgementKind.VERDICT, verdict=verifier.judge_unseen(candidate, unseen))
            if problem.kind is ProblemKind.RULE:
                return Judgement(kind=JudgementKind.VERDICT, verdict=verifier.judge(candidate))
            answer = candidate(*problem.arguments)
        return Judgement(kind=JudgementKind.VERDICT, verdict=verifier.verify(answer))
    except frame.FrameError as error:
        return Judgement(kind=JudgementKind.MALFORMED, reason=str(error))
    except (EOFError, ConnectionError):
        return Judgement(kind=JudgementKind.GONE)


def serve(control: socket.socket, problem: Problem) -> None:
    """Judge what arrives on `control`, candidates by their channel or constructions, until the other side closes it."""
    verifier = load_verifier(problem)
    # The other side may be killed, or close, at any moment: then nobody waits for what this process would say.
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not message:
                return
            if message == _VERIFY:
                judgement = _verify(verifier, str(frame.receive(control, answer_bytes=_REPLY_BYTES, array_bytes=0)))
            else:
                channel = socket.socket(fileno=descriptors[0])
                is_unseen = message == _UNSEEN
                seed = int(str(frame.receive(control, answer_bytes=_SEED_BYTES, array_bytes=0))) if is_unseen else None
                judgement = judge(problem, verifier, channel, seed)
            frame.send(control, _to_tree(judgement))


def _verify(verifier: Verifier, text: str) -> Judgement:
    construction = json.loads(text)
    verdict = verifier.verify(construction)
    violations = () if verdict.valid else verifier.violations(construction)[:MOST_VIOLATIONS]
    return Judgement(kind=JudgementKind.VERDICT, verdict=verdict, violations=violations)


def _to_tree(judgement: Judgement) -> dict[str, object]:
    verdict = judgement.verdict
    if verdict is None:
        return {"kind": str(judgement.kind), "reason": judgement.reason}
    return {
        "kind": str(judgement.kind),
        "score": verdict.score,
        "exact": verdict.exact,
        "reason": verdict.reason,
        "repaired": verdict.repaired,
        "measures": dict(verdict.measures) if verdict.valid else {},
        # Text, so that the process at the other end need not take it apart.
        "violations": list(judgement.violations),
        "construction": None if verdict.construction is None else json.dumps(verdict.construction),
    }


def _from_tree(tree: object) -> Judgement:
    match tree:
        case {"kind": JudgementKind.VERDICT, "score": float() | int() | None as score, **rest}:
            return Judgement(
                kind=JudgementKind.VERDICT,
                verdict=Verdict(
                    valid=score is not None,
                    score=None if score is None else float(score),
                    exact=_text(rest["exact"]),
                    reason=_text(rest["reason"]),
                    repaired=rest["repaired"] if isinstance(rest["repaired"], float) else None,
                    measures=_floats(rest["measures"]),
                    construction=_text(rest["construction"]),
                ),
                violations=_texts(rest["violations"]),
            )
        case {"kind": str() as kind, "reason": str() as reason}:
            return Judgement(kind=JudgementKind(kind), reason=reason)
    raise VerifierError(f"the verifier's reply makes no sense: {tree!r:.200}")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else ()


def _floats(value: object) -> Mapping[str, float]:
    items = value.items() if isinstance(value, dict) else ()
    return {name: figure for name, figure in items if isinstance(name, str) and isinstance(figure, float)}


class VerifierProcess:
    """A running verifier, as the evaluating side sees it. One evaluation at a time."""

    def __init__(self, problem: Problem) -> None:
        # Its environment holds nothing of ours; a closed `ours` ends it, so that nothing survives a kill.
        bootstrap = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from evolve.verifier import main; main()"
        with contextlib.ExitStack() as unless_started:
            ours, theirs = map(unless_started.enter_context, socket.socketpair())
            arguments = [json.dumps(sys.path), str(theirs.fileno()), problem.name, str(problem.folder)]
            self._errors = unless_started.enter_context(tempfile.TemporaryFile())
            self._process = subprocess.Popen(
                [sys.executable, "-c", bootstrap, *arguments],
                pass_fds=[theirs.fileno()],
                env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "LANG": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                start_new_session=True,
            )
            theirs.close()
            unless_started.pop_all()
        self._control = ours

    def begin(self, channel: socket.socket, unseen: int | None = None) -> None:
        """Give the verifier its end of a candidate's channel.

        Args:
            channel: To the candidate.
            unseen: Draws the instances that a rule is to play, instead of the problem's own.

        Raises:
            VerifierError: The verifier is gone.
        """
        try:
            socket.send_fds(self._control, [_JUDGE if unseen is None else _UNSEEN], [channel.fileno()])
            if unseen is not None:
                frame.send(self._control, str(unseen))
        except OSError as error:
            raise VerifierError(f"the verifier failed: {self._last_words() or error}") from error

    def verify(self, construction: str, *, timeout_s: float) -> Judgement:
        """Return the verdict on a construction, given as JSON text.

        Raises:
            VerifierError: The verifier is gone, it failed, or it took longer than `timeout_s`.
        """
        self._control.settimeout(timeout_s)
        try:
            self._control.sendall(_VERIFY)
            frame.send(self._control, construction)
        except (EOFError, OSError) as error:
            raise VerifierError(f"the verifier failed: {self._last_words() or error}") from error
        return self.finish(timeout_s=timeout_s)

    def finish(self, *, timeout_s: float) -> Judgement:
        """Return what the verifier came to.

        Raises:
            VerifierError: It is gone, or it took longer than `timeout_s`.
        """
        self._control.settimeout(timeout_s)
        try:
            tree = frame.receive(self._control, answer_bytes=_REPLY_BYTES, array_bytes=0)
        except TimeoutError as error:
            raise VerifierError(f"the verifier gave no verdict within {timeout_s:g} s") from error
        except frame.FrameError as error:
            raise VerifierError(f"the verifier's verdict cannot be used: {error}") from error
        except (EOFError, OSError) as error:
            words = self._last_words() or str(error) or type(error).__name__
            raise VerifierError(f"the verifier failed: {words}") from error
        return _from_tree(tree)

    def _last_words(self) -> str:
        """Return how a verifier ended: the last line of an uncaught exception, or its exit code; empty if unknown."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LAST_WORDS_S)
        if self._errors.closed:  # it was closed, and none could be started in its place
            return ""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="backslashreplace").strip().splitlines()
        # What a candidate answered may stand in it: nothing may move a terminal's cursor.
        last = "".join(c if c.isprintable() else repr(c)[1:-1] for c in lines[-1][:_LAST_WORDS]) if lines else ""
        code = self._process.returncode
        if code is None or (code == _UNCAUGHT and last):
            return last
        ended = f"verify.py ended its process (exit code {code})" if code >= 0 else f"it was ended by signal {-code}"
        return f"{ended}: {last}" if last else ended

    def kill(self) -> None:
        """Have the process end, whatever it does; any thread may ask so, and who waits for a verdict hears of it."""
        self._process.kill()

    def close(self) -> None:
        """End the process."""
        self._control.close()
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main() -> None:
    """Run a verifier; its arguments are the module path, the control socket, and the problem's name and folder."""
    _, _, descriptor, name, folder = sys.argv
    with socket.socket(fileno=int(descriptor)) as control:
        serve(control, load_problem(name, Path(folder)))
