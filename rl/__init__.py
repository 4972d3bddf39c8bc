"""Learners that train the model; the room holds none yet. `evolve.learner` has the one that does not train."""
