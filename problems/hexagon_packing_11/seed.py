# EVOLVE-BLOCK-START
import math


def tangent(degrees):
    """The t of an angle: a hexagon repeats every 60 degrees, so that t lies between -0.27 and 0.27."""
    return math.tan(math.radians((degrees + 30) % 60 - 30) / 2)


def pack(n):
    """Rows of 4, 3 and 4 hexagons, neighbours 3.5 apart, all in the direction of the outer one."""
    gap = 3.5
    rows = [(1, 4), (0, 3), (-1, 4)]
    hexagons = []
    for row, count in rows:
        for k in range(count):
            x = gap * (k - (count - 1) / 2)
            y = gap * row * math.sqrt(3) / 2
            hexagons.append([x, y, tangent(0)])
    return {"hexagons": hexagons[:n], "outer": [0.0, 0.0, tangent(0)]}


# EVOLVE-BLOCK-END
