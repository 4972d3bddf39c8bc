"""The command `evolve new NAME`: a problem folder that runs, to be changed into one's own."""

import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from evolve.errors import ConfigError, RunFolderError

#: The name of the problem in the templates, a complete example.
_EXAMPLE = "golomb_ruler"
_TEMPLATE = Path(__file__).parent / "templates" / "construction"


def new(words: Sequence[str], console: Console) -> int:
    """`evolve new NAME`: write problem.yaml, seed.py and verify.py into a new folder of that name."""
    if len(words) != 1 or not re.fullmatch(r"[a-z][a-z0-9_]*", words[0]):
        found = " ".join(words) or "nothing"
        raise ConfigError(f"give one name of small letters, digits and _, as in `evolve new my_problem`; got {found}")
    name, folder = words[0], Path(words[0])
    try:
        folder.mkdir()
        for file in sorted(_TEMPLATE.glob("*.*")):
            text = file.read_text(encoding="utf-8").replace(_EXAMPLE, name).replace("path=DIR", f"path={folder}")
            (folder / file.name).write_text(text, encoding="utf-8")
    except FileExistsError as error:
        raise RunFolderError(f"{folder} exists already: choose another name, or work on that folder") from error
    except OSError as error:
        raise RunFolderError(
            f"cannot write {folder}: {error.strerror}; go to a folder that you may write to"
        ) from error
    console.out(
        f"{folder}/ holds a complete problem, an example to change into yours: problem.yaml, seed.py, verify.py\n"
        f"check it:  evolve doctor problem={name} problem.path={folder}\n"
        f"run it:    evolve run problem={name} problem.path={folder}",
        highlight=False,
    )
    return 0
