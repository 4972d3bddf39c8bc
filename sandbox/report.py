"""Words for what protects a machine."""

from __future__ import annotations

from sandbox import landlock, wire
from sandbox.types import Tier


def layers(tier: Tier, ready: wire.Ready) -> dict[str, str]:
    """Return each layer of `tier` and its state, from what the zygote built."""
    full = tier is Tier.FULL
    abi = ready.landlock_abi
    return {
        "namespaces": "user, mount, network, IPC, UTS, cgroup; pid and mount per evaluation" if full else "none",
        "file system": "private and read-only, scratch with quota" if full else "the host's, scratch without quota",
        "user": "an id of its own per evaluation" if ready.own_uid else "the caller's",
        "capabilities": "none",
        "landlock": f"abi {abi}" + ("" if abi >= landlock.SCOPE_ABI else ", no scopes") if abi else "none",
        "seccomp": f"allowlist of {ready.calls} system calls" if ready.calls else "none",
        "limits": "resource limits per process",
        "memory": "tree monitor",
    }
