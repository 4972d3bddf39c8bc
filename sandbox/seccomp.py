"""placeholder"""

from __future__ import annotations

from sandbox.types import Tier


def install(tier: Tier, processes: int, *, scoped: bool) -> None:
    """Nothing yet."""
