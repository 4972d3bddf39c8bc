"""Makes `python -m evolve` the same as the command `evolve`."""

from evolve.cli import main

main()
