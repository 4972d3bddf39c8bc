"""The command `evolve`, and `python -m evolve`."""

import signal


def main() -> None:
    """Run the command; an interrupt while its modules are imported ends it at once and without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from evolve.cli import main as command

    command()


if __name__ == "__main__":
    main()
