"""Draws a step function and its convolution with itself."""

from problems.step_pictures import draw_peak as draw

__all__ = ["draw"]
