"""Learners that train the model while it searches; imported only when one is asked for. See README.md."""
