"""The list of a folder's files with their sizes and SHA-256, by which damage to any of them is found."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxformer.config.errors import UserError
from jaxformer.config.io import MOST_BYTES
from jaxformer.training.run import write_whole

NAME = "manifest.json"


class Damaged(UserError):
    """A file is not as it was written, or not as it may be."""


def write_manifest(folder: Path) -> None:
    """List the files of a folder, which are on the disk for good when this returns."""
    files = {}
    for name, path in sorted(_files(folder)):
        sync(path)
        files[name] = _digest(path)
    write_whole(folder / NAME, _text(files))
    for place, _, _ in os.walk(folder):
        sync(Path(place))


def check_manifest(folder: Path) -> None:
    """Compare the files of a folder with its manifest.

    A name in a manifest is compared with the names that are there, and never opened. Hidden files, which desktops and
    network file systems leave behind, are not looked at. Raises Damaged, naming the first file that differs.
    """
    listed = _read(folder / NAME)
    present = dict(_files(folder))
    for name in sorted(listed.keys() | present.keys()):
        if name not in present:
            raise Damaged(f"{name} is missing")
        if name not in listed:
            raise Damaged(f"{name} does not belong there")
    for name, path in present.items():
        if (size := path.stat().st_size) != listed[name]["bytes"]:
            raise Damaged(f"{name} has {size} bytes, written were {listed[name]['bytes']}")
    for name, path in present.items():
        if _digest(path) != listed[name]:
            raise Damaged(f"{name} has other bytes than were written")


def check_names(folder: Path) -> None:
    """Raises Damaged where something in a folder is neither a folder nor a plain file, or is too long to be parsed."""
    if folder.is_symlink():
        raise Damaged("it is a link, which is not followed")
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(place, name)
            status = path.lstat()
            shown = path.relative_to(folder).as_posix()
            if not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
                raise Damaged(f"{shown} is a link or no plain file, and is not followed")
            if stat.S_ISREG(status.st_mode) and path.parent.name != "d" and status.st_size > MOST_BYTES:
                # Arrays, which are not parsed as a whole, lie in folders called `d`.
                raise Damaged(f"{shown} has {status.st_size} bytes, allowed are {MOST_BYTES}")


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files below a folder by their names in it, without its manifest and what is hidden."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(place, name)
            shown = path.relative_to(folder).as_posix()
            if shown != NAME and not name.startswith("."):
                yield shown, path


def _read(path: Path) -> dict[str, Any]:
    """What a manifest lists, where nothing in it has changed."""
    try:
        text = path.read_text(encoding="utf-8")
        files = json.loads(text)["files"]
        if text == _text(files) and all(file.keys() == {"bytes", "sha256"} for file in files.values()):
            return files
    except FileNotFoundError:
        raise Damaged(f"{NAME} is missing") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise Damaged(f"{NAME} has other bytes than were written")


def _text(files: dict[str, Any]) -> str:
    """A manifest as it is written, with a digest of its own."""
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    return json.dumps({"files": files, "sha256": digest}, indent=1) + "\n"


def _digest(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": os.fstat(file.fileno()).st_size, "sha256": digest}


def sync(path: Path) -> None:
    """Have the system write a file to the disk for good, or the names in a folder, where it can be asked for those."""
    if path.is_dir():
        if os.name == "posix":
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        return
    with path.open("r+b") as file:
        os.fsync(file.fileno())
