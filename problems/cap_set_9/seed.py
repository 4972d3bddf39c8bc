# EVOLVE-BLOCK-START
def priority(v, n):
    """All vectors are worth the same, so that they are tried in lexicographic order."""
    return 0.0


# EVOLVE-BLOCK-END
