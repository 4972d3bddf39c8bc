"""Errors that the sandbox raises on purpose.

* SandboxError
  x SandboxUnavailable   this machine gives less protection than the caller requires
  x SandboxFailure       the sandbox itself broke: try again or stop, never score the program

A program that crashes, hangs or misbehaves is no error: it is a `Result` with an `Ending`.
"""


class SandboxError(Exception):
    """Root of everything that this package raises on purpose, `frame.FrameError` apart."""


class SandboxUnavailable(SandboxError):  # noqa: N818  (named by what is the case)
    """The machine lacks a layer that the required tier needs; one line names the layer and the cure."""


class SandboxFailure(SandboxError):  # noqa: N818
    """The sandbox's own failure: set-up failed twice, or the zygote was lost while a program ran."""
