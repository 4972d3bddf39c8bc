"""Draws a step function and its overlap with its complement."""

from problems.step_pictures import draw_overlap as draw

__all__ = ["draw"]
