"""Calls a program and decodes its answers in the calling process: for canaries, tests and benchmarks.

A caller that runs programs it does not trust gives the other end of the channel to a verifier process instead.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from sandbox import frame
from sandbox.types import Job, Result, Sandbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What came of some calls.

    Attributes:
        result: How the program ended.
        answers: One per call that was answered, in order.
        fault: Why the first answer that was no acceptable frame is none; None if there was no such answer.
    """

    result: Result
    answers: tuple[frame.Plain, ...]
    fault: frame.FrameFault | None


def converse(sandbox: Sandbox, job: Job, calls: Sequence[Sequence[object]] = ((),)) -> Conversation:
    """Run `job`, call it once for each list of arguments, and return what it answered until it ended.

    Raises:
        SandboxFailure: As `Sandbox.run`.
    """
    ours, theirs = socket.socketpair()
    answers: list[frame.Plain] = []
    faults: list[frame.FrameFault] = []

    def ask() -> None:
        with ours, contextlib.suppress(EOFError):
            for arguments in calls:
                frame.send(ours, list(arguments))
                try:
                    answer = frame.receive(
                        ours, answer_bytes=job.limits.answer_kib << 10, array_bytes=job.limits.arrays_mib << 20
                    )
                except frame.FrameError as error:
                    faults.append(error.fault)
                    return
                answers.append(answer)

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        result = sandbox.run(job, theirs)
    finally:
        asker.join()
    return Conversation(result=result, answers=tuple(answers), fault=faults[0] if faults else None)
