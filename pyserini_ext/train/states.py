"""Hidden states of a collection, kept in a file: what a head is trained on while the body rests."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_ext.encode.batches import length_sorted
from pyserini_ext.errors import InputError
from pyserini_ext.files import atomic_path, write_json


class States:
    """Hidden states of the positions of documents, in float16, memory-mapped.

    Parameters
    ----------
    path : Path
        The file; ``<path>.json`` says what it belongs to.
    request : mapping
        JSON: checkpoint, corpus, length. A file of another request is refused.
    documents : sequence of ndarray of int
        Token ids.
    compute : callable
        Token ids of some documents to their states, each of shape (length, width).
    batch_tokens : int
        Tokens computed at a time at most.

    Raises
    ------
    InputError
        If the file belongs to something else.
    """

    def __init__(
        self,
        path: Path,
        request: Mapping[str, Any],
        documents: Sequence[np.ndarray],
        compute: Callable[[list[np.ndarray]], list[np.ndarray]],
        batch_tokens: int,
    ) -> None:
        lengths = [len(documents[row]) for row in range(len(documents))]
        self._ends = np.cumsum([0, *lengths])
        about = path.with_name(f"{path.name}.json")
        wanted = json.loads(json.dumps(request))
        if not path.is_file():
            write_json(about, wanted)
            self._write(path, documents, lengths, compute, batch_tokens)
        elif not about.is_file() or json.loads(about.read_text(encoding="utf-8")) != wanted:
            raise InputError(
                f"{path} holds states of another checkpoint, corpus or length; name another file"
            )
        self._states = np.memmap(path, np.float16, "r").reshape(int(self._ends[-1]), -1)

    def __getitem__(self, row: int) -> np.ndarray:
        return self._states[self._ends[row] : self._ends[row + 1]]

    def _write(
        self,
        path: Path,
        documents: Sequence[np.ndarray],
        lengths: list[int],
        compute: Callable[[list[np.ndarray]], list[np.ndarray]],
        batch_tokens: int,
    ) -> None:
        from tqdm import tqdm

        out: np.memmap | None = None
        with atomic_path(path) as part:
            with tqdm(total=len(lengths), unit="doc", desc="states") as bar:
                for batch in length_sorted(lengths, len(lengths), batch_tokens):
                    found = compute([documents[row] for row in batch.tolist()])
                    if out is None:
                        shape = (int(self._ends[-1]), found[0].shape[1])
                        out = np.memmap(part, np.float16, "w+", shape=shape)
                    for row, states in zip(batch.tolist(), found, strict=True):
                        out[self._ends[row] : self._ends[row + 1]] = states
                    bar.update(len(batch))
            if out is not None:
                out.flush()
