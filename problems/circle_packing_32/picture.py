"""Draws a circle packing: darker is larger."""

from problems.pictures import draw_circles as draw

__all__ = ["draw"]
