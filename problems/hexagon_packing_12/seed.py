# EVOLVE-BLOCK-START
import math


def tangent(degrees):
    """The t of an angle: a hexagon repeats every 60 degrees, so that t lies between -0.27 and 0.27."""
    return math.tan(math.radians((degrees + 30) % 60 - 30) / 2)


def pack(n):
    """Three rows of 4 hexagons with wide gaps, all in the direction of the outer one."""
    rows = [(-2.17, 4), (0.0, 4), (2.17, 4)]
    hexagons = []
    for y, count in rows:
        for k in range(count):
            x = 2.5 * (k - (count - 1) / 2)
            hexagons.append([x, y, tangent(0)])
    return {"hexagons": hexagons[:n], "outer": [0.0, 0.0, tangent(0)]}


# EVOLVE-BLOCK-END
