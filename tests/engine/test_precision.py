"""The type in which the model computes."""

from pathlib import Path

import pytest

from evolve.engine.precision import dtype_here


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_what_is_asked_for_is_taken(dtype):
    """Whatever the machine is good at."""
    assert dtype_here(dtype) == dtype


def test_the_machine_decides_otherwise():
    """A GPU multiplies in bfloat16; a processor does where the kernel lists an instruction for it."""
    torch = pytest.importorskip("torch")
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").lower().splitlines()
    flags = {flag for line in lines if line.startswith(("flags", "features")) for flag in line.split()}
    fast = torch.cuda.is_available() or flags & {"avx512_bf16", "amx_bf16", "bf16"}

    assert dtype_here("auto") == ("bfloat16" if fast else "float32")
