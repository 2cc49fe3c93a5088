"""The text of the CUDA kernels, found in a wheel and in a checkout, and the names in each file."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from pyserini_ext.errors import InputError

_DENSE = ("float32", "float16", "int8")
_METRICS = ("ip", "cosine", "l2")
_RANKED = ("plain", "mixed")

KERNELS: dict[str, tuple[str, ...]] = {
    "gather_dot": (
        *(f"gather_{d}_{m}_{lanes}" for d in _DENSE for m in _METRICS for lanes in (8, 32)),
        "gather_binary_8",
    ),
    "grouped": tuple(f"grouped_{d}_{m}" for d in _DENSE for m in _METRICS),
    "feedback": tuple(f"feedback_{d}" for d in _DENSE),
    "maxsim": ("maxsim_staged", "maxsim_direct"),
    "topk": tuple(f"topk_{step}_{of}" for step in ("sort", "merge", "emit") for of in _RANKED),
}
"""The kernels of each file, without its suffix."""

OPTIONS = ("-std=c++17",)
"""What NVRTC is told beside the architecture."""


def folder() -> Path:
    """Return the folder of our CUDA sources.

    A wheel carries them inside the package, a checkout (or an editable install of it) beside it.

    Raises
    ------
    InputError
        If neither is there, which means a damaged installation.
    """
    package = Path(__file__).resolve().parents[1]
    for each in (package / "_cuda", package.parent / "cuda"):
        if (each / "common.cuh").is_file():
            return each
    raise InputError(
        f"the CUDA sources of pyserini-ext are missing beside {package}; reinstall it with "
        "pip install --force-reinstall pyserini-ext"
    )


@cache
def text(family: str) -> str:
    """Return one file of kernels with the headers that it includes put in their place.

    CuPy keeps what it compiled under a hash of the text, in which the content of included files
    would be missing.
    """
    return _expanded(folder() / f"{family}.cu", set())


def family_of(kernel: str) -> str:
    """Return the file that a kernel stands in, without its suffix."""
    return next(family for family, names in KERNELS.items() if kernel in names)


def _expanded(file: Path, seen: set[str]) -> str:
    if file.name in seen:
        return ""
    seen.add(file.name)
    source = file.read_text(encoding="utf-8").replace("#pragma once\n", "")
    return re.sub(
        r'#include "(\w+\.cuh)"\n', lambda found: _expanded(file.parent / found[1], seen), source
    )
