"""The JSON beside a run or an index: everything needed to make it again."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pyserini_ext.files import fingerprint

DISTRIBUTIONS = (
    "pyserini-ext",
    "pyserini",
    "pyjnius",
    "numpy",
    "faiss-cpu",
    "torch",
    "transformers",
    "numba",
    "cupy",
)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide about scores."""
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if pyserini := _pyserini():
        found["pyserini"] = pyserini
    return found


def _pyserini() -> str | None:
    # A checkout or unpacked Pyserini on PYTHONPATH hides the installed one, not its metadata.
    spec = find_spec("pyserini")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]).resolve().parent
    for distribution in metadata.distributions(name="pyserini", path=[str(folder)]):
        return distribution.version
    try:
        return f"{metadata.version('pyserini')} by its metadata, imported from {folder}"
    except metadata.PackageNotFoundError:
        return f"unknown, imported from {folder}"


def describe(
    arguments: Mapping[str, Any], inputs: Mapping[str, str | Path], **more: Any
) -> dict[str, Any]:
    """Gather what it takes to make a run or an index again.

    Parameters
    ----------
    arguments : mapping
        Every option with its value, defaults included.
    inputs : mapping
        Role (``index``, ``topics`` …) to file or folder; those that exist are fingerprinted.
    **more
        Anything else worth keeping, e.g. timings.

    Returns
    -------
    dict
        Ready for JSON.
    """
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "arguments": dict(arguments),
        "inputs": {
            role: {"path": str(name), **(fingerprint(name) if Path(name).exists() else {})}
            for role, name in inputs.items()
        },
        "versions": versions(),
        "platform": platform.platform(),
        **more,
    }


def beside(path: str | Path) -> Path:
    """Return where the JSON of a run or an index lies: ``run.txt.json`` beside ``run.txt``."""
    return Path(path).with_name(Path(path).name + ".json")
