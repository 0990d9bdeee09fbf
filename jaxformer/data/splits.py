"""What trains and what is held out: by name where the data say so, else by a hash."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from jaxformer.config.errors import UserError

SPLITS = {"train": ("train",), "valid": ("valid", "val", "dev", "validation"), "test": ("test",)}
"""The names under which each split may be found."""


def named_splits(folder: Path, suffixes: Sequence[str]) -> tuple[Path, Path] | None:
    """Where the train and the valid split lie in a folder, by name, the first suffix first; None if there is neither.

    Raises UserError where only one of them is there: what was left aside could be taken for training data.
    """
    train, valid = (
        next((path for name in SPLITS[split] for s in suffixes if (path := folder / f"{name}{s}").exists()), None)
        for split in ("train", "valid")
    )
    if train and valid:
        return train, valid
    if train or valid:
        absent, there = ("valid", train) if train else ("train", valid)
        raise UserError(f"{folder} has {there.name} but no {absent} split; name it {' or '.join(SPLITS[absent])}")  # pyright: ignore[reportOptionalMemberAccess]
    return None


def hold_out(keys: Sequence[str], part: float) -> list[bool]:
    """Which of several documents are held out: those whose keys have the smallest hashes, `part` of all, at least one.

    A hash has no favourites, does not depend on the order, and treats equal keys alike; a document that is added or
    taken away moves at most one other. `keys` must hold two different ones.
    """
    distinct = sorted(set(keys), key=lambda key: hashlib.sha256(key.encode()).digest())
    count = min(max(1, round(part * len(distinct))), len(distinct) - 1)
    held = set(distinct[:count])
    return [key in held for key in keys]
