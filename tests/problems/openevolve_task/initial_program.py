"""A task in OpenEvolve's form, for the tests."""


# EVOLVE-BLOCK-START
def guess():
    return 3


# EVOLVE-BLOCK-END


def run_guess():
    return guess()
