"""Draws points and their smallest triangles."""

from problems.pictures import draw_triangles as draw

__all__ = ["draw"]
