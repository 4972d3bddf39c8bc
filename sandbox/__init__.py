"""Runs untrusted Python programs: contained, measured, and started in milliseconds. `README.md` says what holds."""

from sandbox.errors import SandboxError, SandboxFailure, SandboxUnavailable
from sandbox.runner import open_sandbox
from sandbox.types import Ending, Job, Limits, Report, Result, Sandbox, Tier, Usage

__all__ = [
    "Ending",
    "Job",
    "Limits",
    "Report",
    "Result",
    "Sandbox",
    "SandboxError",
    "SandboxFailure",
    "SandboxUnavailable",
    "Tier",
    "Usage",
    "open_sandbox",
]
