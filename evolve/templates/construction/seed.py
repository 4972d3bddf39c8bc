"""The program that a search starts from: children may differ from it between the two lines only."""


# EVOLVE-BLOCK-START
def place(n):
    return [2**i - 1 for i in range(n)]


# EVOLVE-BLOCK-END
