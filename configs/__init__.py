"""The YAML files that name variants of a run; the options and their defaults are in `evolve.config`."""
