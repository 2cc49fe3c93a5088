"""The loss of a PRF query encoder: each query's relevant document against others."""

from __future__ import annotations

import numpy as np
import torch

from pyserini_ext.index.vectors import VectorStore
from pyserini_ext.train import losses
from pyserini_ext.train.batches import Batches, choose_negatives
from pyserini_ext.train.prf_data import PrfExample
from pyserini_ext.train.prf_model import PrfModel


class PrfLoss:
    """The loss of a batch: each query's relevant document against others, by inner product.

    Parameters
    ----------
    model : PrfModel
    batches : Batches of PrfExample
    store : VectorStore
        Read only: no gradient reaches a document vector.
    passages : int
        Of a query: one relevant, the others hard negatives.
    temperature : float
    in_batch : bool
        What was drawn for the other queries is negative too, unless it is relevant.
    accumulate : int
        Batches of a step.
    anchor : float
        Weight of 1 - cosine(vector, Rocchio vector), the mean over the queries.
    """

    def __init__(
        self,
        model: PrfModel,
        batches: Batches[PrfExample],
        store: VectorStore,
        passages: int,
        temperature: float,
        in_batch: bool = False,
        accumulate: int = 1,
        anchor: float = 0.0,
    ) -> None:
        self.model, self.batches, self.store = model, batches, store
        self.anchor = anchor
        self.passages, self.temperature = passages, temperature
        self.in_batch, self.accumulate = in_batch, accumulate

    def __call__(self, step: int, part: int) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the loss of a part of a step, and the share of queries that are right."""
        batch = step * self.accumulate + part
        numbers, examples = self.batches.numbers(batch), self.batches.examples(batch)
        rows = np.array([choose_negatives(each, self.passages, numbers) for each in examples])
        # Where a run is shorter than the passages, some were drawn twice; they count once.
        distinct, columns = np.unique(rows, return_inverse=True)
        columns = columns.reshape(rows.shape)
        out = np.array([np.isin(distinct, each.positives) for each in examples])
        if not self.in_batch:
            own = np.zeros_like(out)
            np.put_along_axis(own, columns, True, axis=1)
            out |= ~own
        out[np.arange(len(rows)), columns[:, 0]] = False
        queries = self.model([each.tokens for each in examples])
        documents = torch.from_numpy(self.store.take(distinct)).to(queries.device)
        if self.store.metric == "cosine":
            queries = torch.nn.functional.normalize(queries, dim=1)
            documents = torch.nn.functional.normalize(documents, dim=1)
        scores = queries @ documents.T / self.temperature
        positive = torch.from_numpy(columns[:, 0]).to(scores.device)
        left_out = torch.from_numpy(out).to(scores.device)
        loss = losses.contrastive(scores, positive, left_out)
        best = scores.detach().masked_fill(left_out, float("-inf")).argmax(1)
        shown = {"right": float((best == positive).float().mean())}
        if self.anchor:
            anchors = torch.from_numpy(np.array([each.anchor for each in examples]))
            away = 1 - torch.cosine_similarity(queries, anchors.to(queries.device)).mean()
            shown["away"] = float(away.detach())
            loss = loss + self.anchor * away
        return loss, shown
