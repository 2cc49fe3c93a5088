"""Held-out queries between the epochs, and the weights of the best epoch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from pyserini_ext.encode.prf_encoder import PrfEncoder
from pyserini_ext.evaluate.measures import Measurer
from pyserini_ext.files import atomic_path
from pyserini_ext.hits import Hits
from pyserini_ext.rescore.rows import Candidates
from pyserini_ext.train.loop import Loop
from pyserini_ext.train.prf_data import PrfQueries

MEASURE = "nDCG@10"
DEEP = 10
"""Documents that the measure looks at."""


class Dev:
    """Queries that are not trained on, searched exactly.

    Parameters
    ----------
    encoder : PrfEncoder
        As it is at the moment, in float32 as in inference.
    qids, queries : sequence of str
    documents : sequence of sequence of str
        Texts of the feedback documents.
    data : PrfQueries
        All of its dev queries count; one that is not among `qids` with 0.
    """

    def __init__(
        self,
        encoder: PrfEncoder,
        qids: Sequence[str],
        queries: Sequence[str],
        documents: Sequence[Sequence[str]],
        data: PrfQueries,
    ) -> None:
        self.encoder, self.store = encoder, data.store
        self.qids, self.queries, self.documents = qids, queries, documents
        self._measurer = Measurer({qid: data.judged[qid] for qid in data.dev}, [MEASURE])

    def __len__(self) -> int:
        return len(self._measurer.qids)

    def measure(self) -> float:
        """Return the mean nDCG@10 by an exhaustive search."""
        vectors = self.encoder.encode_feedback(self.queries, self.documents)
        every = Candidates(
            np.arange(len(self.store), dtype=np.int32), np.array([0, len(self.store)])
        )
        found = []
        for qid, vector in zip(self.qids, vectors, strict=True):
            ranked = self.store.rescore(vector[None], every, DEEP)
            found.append((qid, Hits(self.store.docids[ranked.positions], ranked.scores)))
        return float(self._measurer.measure(found)[MEASURE].mean())


class BestEpoch:
    """Measures after each epoch, and before the first; keeps the weights of the best.

    Of equal epochs the first is kept, so that training that helps nothing gives back what it
    began with. What was found is part of the state that a killed run goes on from.

    Parameters
    ----------
    loop : Loop
        Its notes get ``dev`` and ``best_step``.
    dev : Dev
    ends : sequence of int
        Steps after which an epoch is over.
    """

    def __init__(self, loop: Loop, dev: Dev, ends: Sequence[int]) -> None:
        self.loop, self.dev = loop, dev
        self._epochs = {step: epoch for epoch, step in enumerate(ends, 1)}
        if "dev" not in loop.notes:
            loop.notes["dev"] = []
            self._measure(0)

    def __call__(self, step: int) -> None:
        """Measure if an epoch is over."""
        if step in self._epochs:
            self._measure(self._epochs[step])

    def _measure(self, epoch: int) -> None:
        loop, value = self.loop, self.dev.measure()
        before = [each[MEASURE] for each in loop.notes["dev"]]
        loop.notes["dev"].append({"epoch": epoch, "step": loop.step, MEASURE: value})
        print_line(f"epoch {epoch}: {MEASURE} {value:.4f} on {len(self.dev)} dev queries")
        if not before or value > max(before):
            with atomic_path(self._file(loop.step)) as path:
                save_file({n: p.detach().cpu() for n, p in self._parameters().items()}, path)
            loop.notes["best_step"], loop.notes["best_epoch"] = loop.step, epoch
        loop.save()
        # Only now does no state point to another.
        for other in loop.folder.glob("best-*.safetensors"):
            if other != self._file(loop.notes["best_step"]):
                other.unlink()

    def restore(self) -> None:
        """Put the weights of the best epoch into the model."""
        kept = load_file(self._file(self.loop.notes["best_step"]))
        with torch.no_grad():
            for name, parameter in self._parameters().items():
                parameter.copy_(kept[name])

    def _parameters(self) -> dict[str, torch.nn.Parameter]:
        return {n: p for n, p in self.loop.model.named_parameters() if p.requires_grad}

    def _file(self, step: int) -> Path:
        return self.loop.folder / f"best-{step}.safetensors"


def print_line(text: str) -> None:
    """Print to stderr without tearing a progress bar apart."""
    tqdm.write(text, file=sys.stderr)
