"""Draws a sign matrix."""

from problems.pictures import draw_signs as draw

__all__ = ["draw"]
