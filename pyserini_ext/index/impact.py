"""Building impact indexes: learned sparse vectors to Lucene postings, without repeating words."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.files import write_json
from pyserini_ext.index.about import read_about
from pyserini_ext.index.idf import compute_idf, idf_sha256
from pyserini_ext.index.vector_jobs import VectorJobs, vector_files
from pyserini_ext.index.writer import STATE, lock, part_of
from pyserini_ext.provenance import describe

MODES = ("query", "premultiplied")
IDF_FILE = "idf.json"
LOCK = ".lock"
MOST_BITS = 24
"""Scores are float32: larger impacts would not be held exactly."""
BUFFER_MB = 256
"""What Lucene holds before it writes a segment; the rest of the memory does not grow."""


@dataclass(frozen=True)
class Pruning:
    """Which postings of a document to drop, by idf * weight (by weight where no idf is known).

    The rules apply in this order; what a rule orders by is the larger value first, then the token.

    Attributes
    ----------
    threshold : float
        Drop postings below this.
    mass : float
        Keep the largest until they make up this part of the document's sum.
    keep : float
        Keep this part of the document's postings, rounded up.
    cap : int, optional
        Keep at most this many.
    """

    threshold: float = 0.0
    mass: float = 1.0
    keep: float = 1.0
    cap: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < math.inf:
            raise InputError(f"the pruning threshold is {self.threshold}; it must be at least 0")
        for name in ("mass", "keep"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(
                    f"the part of the {'mass' if name == 'mass' else 'postings'} to keep is "
                    f"{getattr(self, name)}; it must be above 0 and at most 1"
                )
        if self.cap is not None and not 1 <= self.cap < 2**31:
            raise InputError(f"the postings to keep a document are {self.cap}; at least 1")


def build_impact_index(
    corpus: str | Path,
    output: str | Path,
    *,
    mode: str = "query",
    scale: float | None = None,
    bits: int | None = None,
    idf: str | Path | Mapping[str, float] | None = None,
    missing_idf: float = 0.0,
    tokenizer: str | None = None,
    pruning: Pruning | None = None,
    vector_field: str | None = None,
    store_raw: bool = False,
    store_docvectors: bool = False,
    merge: bool = False,
    threads: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Index sparse vectors so that Pyserini's ``LuceneImpactSearcher`` and ours search them.

    The work is done in ``<output>.part``, which is renamed when it is complete. The collection is
    streamed; memory does not grow with it.

    Parameters
    ----------
    corpus : str or Path
        JSON lines (``.jsonl`` or ``.json``, also with ``.gz`` or ``.zst``) or a folder of such
        files: docid under ``id``, ``_id`` or ``docid``, ``{token: weight}`` under ``vector``,
        ``sparse_embedding`` or ``weights``, text under ``contents`` or ``title`` and ``text``.
    output : str or Path
        The folder to make.
    mode : str
        ``"query"``: impacts are weights; a query brings idf along. ``"premultiplied"``: impacts are
        idf * weight; a query is a set of tokens.
    scale : float, optional
        Impact of the value 1; an impact is ``floor(value * scale + 0.5)`` and a value whose impact
        is 0 is dropped. 100 by default.
    bits : int, optional
        Impacts are below ``2 ** bits``. Without `scale`, the largest value gets the largest impact
        (this reads the collection twice); with it, larger impacts are clipped, and counted.
    idf : str, Path or mapping, optional
        The table, a file of it, or ``"collection"``: computed from the documents (this reads the
        collection twice), counting a document for each token with a weight above 0. By default
        what the ``.about`` files beside the vectors say (see :mod:`pyserini_ext.index.about`);
        ``"none"`` for none all the same.
    missing_idf : float
        For tokens that the table lacks.
    tokenizer : str, optional
        What to call the tokenizer that made the tokens; a searcher with another one is refused.
        By default what the ``.about`` files say.
    pruning : Pruning, optional
    vector_field : str, optional
        JSON field of the vector.
    store_raw : bool
        Store the text, for feedback methods that read it.
    store_docvectors : bool
        Store the impacts by document too: reading a document's vector back becomes fast.
    merge : bool
        Into one segment.
    threads : int, optional
        All cores by default.
    overwrite : bool
        Replace `output` when the new index is complete.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    dict
        What was read, dropped and kept; it also stands in ``build.json`` of the folder, and in the
        user data of Lucene's commit (see :class:`ImpactInfo`).

    Raises
    ------
    InputError
        For a bad option or one that contradicts the ``.about`` files, a line that is no sparse
        vector (named with its file), a docid that comes twice, an impact over ``2 ** 24`` without
        `bits`, or a disk that cannot be written. Nothing is left behind then.
    """
    if mode not in MODES:
        raise InputError(f"mode is {mode!r}; expected {' or '.join(MODES)}")
    if scale is None and bits is None:
        scale = 100.0
    if scale is not None and not 0 < scale < math.inf:
        raise InputError(f"scale is {scale}; it must be above 0")
    if bits is not None and not 1 <= bits <= MOST_BITS:
        raise InputError(f"bits is {bits}; it must be between 1 and {MOST_BITS}")
    if not 0 <= missing_idf < math.inf:
        raise InputError(f"missing_idf is {missing_idf}; it must be at least 0")
    if threads is not None and threads < 1:
        raise InputError(f"threads is {threads}; it must be at least 1")
    pruning = pruning or Pruning()
    threads = threads or os.cpu_count() or 1
    files = vector_files(corpus)
    path = Path(output)
    check_output(path, overwrite)
    about = read_about(files)
    tokenizer, chosen = about.settle(tokenizer, idf)
    table = chosen if isinstance(chosen, dict) else None
    if mode == "premultiplied" and chosen is None:
        raise InputError("mode premultiplied needs idf: a file, or collection")
    build = VectorJobs(files, vector_field or "", threads, progress)
    with _part(path) as part:
        documents = None
        if chosen == "collection" or scale is None:
            documents, tokens, df, largest = build.scan()
            if chosen == "collection":
                table = dict(zip(tokens, compute_idf(df, documents).tolist(), strict=True))
            if scale is None:
                assert bits is not None
                scale = _scale(bits, tokens, largest, table, missing_idf, mode)
        settings = {
            "mode": mode,
            "scale": scale,
            "bits": bits,
            "idf": "given" if isinstance(chosen, dict) else chosen,
            "idf_sha256": None if table is None else idf_sha256(table),
            "missing_idf": None if table is None else missing_idf,
            "tokenizer": tokenizer,
            "encoder": about.encoder,
            "pruning": asdict(pruning),
        }
        options = {
            "field": vector_field or "",
            "premultiply": mode == "premultiplied",
            "scale": scale,
            "clip": 2**bits - 1 if bits else 0,
            "idf": table is not None,
            "missing_idf": missing_idf,
            "threshold": pruning.threshold,
            "mass": pruning.mass,
            "keep": pruning.keep,
            "cap": pruning.cap or 2**31 - 1,
            "store_text": store_raw,
            "store_vectors": store_docvectors,
            "buffer_mb": BUFFER_MB,
        }
        report = build.write(part, options, table or {}, settings, documents, merge)
        if table is not None:
            with (part / IDF_FILE).open("w", encoding="utf-8") as out:
                json.dump(table, out, ensure_ascii=False)
        inputs: dict[str, str | Path] = {"corpus": corpus}
        if isinstance(idf, str | Path) and idf not in ("collection", "none"):
            inputs["idf"] = idf
        arguments = {**settings, "store_raw": store_raw, "store_docvectors": store_docvectors}
        write_json(part / STATE, describe(arguments, inputs, complete=True, report=report))
        if path.exists():
            shutil.rmtree(path)
        (part / LOCK).unlink()
        part.rename(path)
    return report


class _part:  # noqa: N801
    """Hold the folder that an index is made in; clear it before, and after a failure."""

    def __init__(self, path: Path) -> None:
        self.folder = part_of(path)

    def __enter__(self) -> Path:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._held = (self.folder / LOCK).open("ab")
        except OSError as error:
            raise InputError(f"cannot write the folder {self.folder}: {error.strerror}") from error
        lock(self._held.fileno(), self.folder)
        for file in self.folder.iterdir():
            if file.name != LOCK:
                file.unlink()
        return self.folder

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._held.close()


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse a folder that is there already, unless it is an index that may be overwritten."""
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; choose another name or pass --overwrite")
    if path.exists() and not any(path.glob("segments_*")):
        raise InputError(f"{path} is not an index of this kind and will not be overwritten")


def _scale(
    bits: int,
    tokens: list[str],
    largest: np.ndarray,
    table: Mapping[str, float] | None,
    missing_idf: float,
    mode: str,
) -> float:
    """Return the scale that gives the largest value of the collection the largest impact."""
    values = largest
    if mode == "premultiplied":
        assert table is not None
        values = largest * np.array([table.get(token, missing_idf) for token in tokens])
    top = float(values.max(initial=0))
    if not top:
        raise InputError("the collection holds no weight above 0, so bits alone set no scale")
    return (2**bits - 1) / top
