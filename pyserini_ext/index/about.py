"""What ``.about`` files beside sparse vectors say of how those were made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pyserini_ext.errors import InputError
from pyserini_ext.index.idf import check_idf, idf_sha256, read_idf

FORMAT = "pyserini-ext sparse vectors"
"""What such a file says of itself."""


class About(NamedTuple):
    """How vectors were made.

    Attributes
    ----------
    tokenizer : str or None
        Its name.
    encoder : dict or None
        ``name`` and ``options`` of the sparse encoder that encodes queries for them.
    idf : dict, "collection" or None
        The weights of query tokens that belong to the vectors: a table, that of the documents
        themselves, or none.
    """

    tokenizer: str | None = None
    encoder: dict[str, Any] | None = None
    idf: dict[str, float] | str | None = None

    def settle(
        self, tokenizer: str | None, idf: str | Path | Mapping[str, float] | None
    ) -> tuple[str | None, dict[str, float] | str | None]:
        """Return the tokenizer and the idf of an index, from what was asked for and what is said.

        Parameters
        ----------
        tokenizer : str or None
        idf : str, Path, mapping or None
            A table, its file, ``"collection"``, or ``"none"``.

        Returns
        -------
        tuple
            The name of the tokenizer; a table, ``"collection"`` or None.

        Raises
        ------
        InputError
            If what was asked for contradicts what is said, or there is no such table.
        """
        if tokenizer and self.tokenizer not in (None, tokenizer):
            raise InputError(
                f"tokenizer is {tokenizer!r}, but the .about file beside the vectors says "
                f"{self.tokenizer!r}; leave the option out"
            )
        tokenizer = tokenizer or self.tokenizer
        if idf is None:
            return tokenizer, self.idf
        if isinstance(idf, str) and idf in ("collection", "none"):
            return tokenizer, "collection" if idf == "collection" else None
        table = check_idf(idf, "idf") if isinstance(idf, Mapping) else read_idf(idf)
        if isinstance(self.idf, Mapping) and idf_sha256(table) != idf_sha256(self.idf):
            shown = "a table" if isinstance(idf, Mapping) else idf
            raise InputError(
                f"idf is {shown}, but the model that made the vectors has another table (it is in "
                "their .about file); leave the option out, or say collection"
            )
        return tokenizer, table


def read_about(files: Sequence[Path]) -> About:
    """Return what the ``.about`` files beside vector files say.

    Parameters
    ----------
    files : sequence of Path
        Files of one collection. Those that have none beside them are taken to be like the others.

    Raises
    ------
    InputError
        If two of them differ: their vectors do not belong together.
    """
    found: About | None = None
    for file in files:
        place = file.with_name(f"{file.name}.about")
        about = _read(place)
        if about is None:
            continue
        if found is not None and (differs := _difference(found, about)):
            raise InputError(
                f"{place} names another {differs} than the .about files before it; vectors of two "
                "kinds cannot be in one index"
            )
        found = found or about
    return found or About()


def _difference(one: About, other: About) -> str | None:
    pairs = zip(About._fields, one, other, strict=True)
    return next((name for name, a, b in pairs if a != b), None)


def _read(path: Path) -> About | None:
    if not path.is_file():
        return None
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); remove or repair it") from None
    if not isinstance(said, Mapping) or said.get("format") != FORMAT:
        return None
    queries = said.get("queries") or {}
    idf = queries.get("idf")
    if isinstance(idf, Mapping):
        idf = check_idf(idf, str(path))
    return About(said.get("tokenizer"), queries.get("encoder"), idf)
