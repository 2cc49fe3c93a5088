"""Short, distinct names for run files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from pyserini_ext.errors import InputError


def run_names(paths: Iterable[str | Path]) -> dict[str, Path]:
    """Name run files by their stems; where stems clash, by folder and stem, then by full path.

    Parameters
    ----------
    paths : iterable of str or Path

    Returns
    -------
    dict of str to Path
        In the order given.

    Raises
    ------
    InputError
        If a file is given twice.

    Examples
    --------
    >>> list(run_names(["a/bm25.txt", "b/bm25.txt", "b/dense.txt.gz"]))
    ['a/bm25', 'b/bm25', 'dense']
    """
    files = [Path(path) for path in paths]
    seen: set[Path] = set()
    for file in files:
        if file.resolve() in seen:
            raise InputError(f"the run {file} is given twice; remove one")
        seen.add(file.resolve())
    levels: list[Callable[[Path], str]] = [_stem, _folder_stem, _folder_name, str]
    names = {file: _stem(file) for file in files}
    for level in levels[1:]:
        counts = list(names.values())
        names = {f: level(f) if counts.count(name) > 1 else name for f, name in names.items()}
    return {name: file for file, name in names.items()}


def _stem(file: Path) -> str:
    name = file.name.removesuffix(".gz")
    return Path(name).stem if Path(name).suffix in {".txt", ".trec", ".run", ".tsv"} else name


def _folder(file: Path) -> str:
    return file.resolve().parent.name


def _folder_stem(file: Path) -> str:
    return f"{_folder(file)}/{_stem(file)}"


def _folder_name(file: Path) -> str:
    return f"{_folder(file)}/{file.name}"
