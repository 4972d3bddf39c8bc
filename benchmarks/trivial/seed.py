# EVOLVE-BLOCK-START
def answer():
    return 0


# EVOLVE-BLOCK-END
