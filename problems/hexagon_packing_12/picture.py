"""Draws hexagons in a hexagon."""

from problems.pictures import draw_hexagons as draw

__all__ = ["draw"]
