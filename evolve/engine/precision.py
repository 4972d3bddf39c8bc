"""In which type a machine multiplies matrices."""

#: How torch names the instructions that multiply in bfloat16, of x86-64 and of 64-bit Arm processors.
_BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")


def dtype_here(wanted: str) -> str:
    """Return `wanted`, in torch's words; for "auto" bfloat16, or float32 where bfloat16 is slow.

    A processor without instructions for bfloat16 turns each weight into float32 whenever it is used, which costs more
    than the product (benchmarks/precision.py). The price of float32 is twice the memory.
    """
    if wanted != "auto":
        return wanted
    import torch

    if torch.cuda.is_available():
        return "bfloat16"
    capabilities = torch.cpu.get_capabilities()
    return "bfloat16" if any(capabilities.get(name) for name in _BFLOAT16_INSTRUCTIONS) else "float32"
