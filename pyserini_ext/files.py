"""Files that are either whole or absent, and the fingerprints that identify them."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pyserini_ext.errors import InputError

BLOCK = 1 << 20
"""Bytes read at a time when a file is fingerprinted."""

WHOLE = 64 * BLOCK
"""A file up to this many bytes is hashed whole, a larger one in `WHOLE // BLOCK` spread blocks."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` that becomes `path` when the block succeeds.

    When the block raises, the temporary file is removed and `path` stays as it was.

    Parameters
    ----------
    path : str or Path
        The file to make. Missing parent folders are created.

    Yields
    ------
    Path
        The name to write to.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file to write")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create the folder {path.parent}: {error.strerror}") from error
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_writer(path: str | Path) -> Iterator[IO[str]]:
    """Open `path` for UTF-8 text through :func:`atomic_path`.

    Parameters
    ----------
    path : str or Path
        The file to make.

    Yields
    ------
    file
        Open for writing; lines end in a single line feed on every system.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as out:
        yield out


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON, whole or not at all."""
    with atomic_writer(path) as out:
        json.dump(content, out, indent=2, ensure_ascii=False)
        out.write("\n")


def open_text(path: str | Path) -> IO[str]:
    """Open a UTF-8 text file for reading, through gzip when its name ends in ``.gz``.

    Raises
    ------
    InputError
        When there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def fingerprint(path: str | Path) -> dict[str, Any]:
    """Identify a file or a folder of files without reading terabytes.

    Parameters
    ----------
    path : str or Path
        A file, or a folder whose files are taken in the order of their names.

    Returns
    -------
    dict
        ``sha256`` over names, sizes and contents, ``bytes`` in all, and ``sampled``: whether a
        file was over 64 MiB, in which case 64 evenly spread blocks of 1 MiB stand for it.
    """
    path = Path(path)
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    digest, total, sampled = hashlib.sha256(), 0, False
    for file in files:
        size = file.stat().st_size
        name = file.name if file == path else file.relative_to(path).as_posix()
        digest.update(f"{name}\0{size}\0".encode())
        total += size
        sampled |= size > WHOLE
        _update(digest, file, size)
    return {"sha256": digest.hexdigest(), "bytes": total, "sampled": sampled}


def _update(digest: Any, file: Path, size: int) -> None:
    with file.open("rb") as source:
        if size <= WHOLE:
            while block := source.read(BLOCK):
                digest.update(block)
            return
        blocks = WHOLE // BLOCK
        for number in range(blocks):
            source.seek((size - BLOCK) * number // (blocks - 1))
            digest.update(source.read(BLOCK))
