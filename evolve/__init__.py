"""Test-time evolutionary discovery: a language model rewrites programs for an open problem, verified exactly.

Read `evolve/loop.py` first: it shows one mutation from the draw of a parent to the stored child.
"""
