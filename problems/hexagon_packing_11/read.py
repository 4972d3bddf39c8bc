"""Reads published arrangements, whose angles are degrees."""

from problems.hexagon_forms import construction

__all__ = ["construction"]
