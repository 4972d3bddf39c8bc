"""Draws points with their shortest and longest distances."""

from problems.pictures import draw_distances as draw

__all__ = ["draw"]
