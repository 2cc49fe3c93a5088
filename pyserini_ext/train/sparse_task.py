"""Training a sparse encoder: the data, the model and the loss put together."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyserini_ext.encode.checkpoint import longest_input
from pyserini_ext.encode.fast_tokenizer import by_id
from pyserini_ext.encode.sparse_query import InferenceFreeEncoder
from pyserini_ext.errors import InputError
from pyserini_ext.files import write_json
from pyserini_ext.index.idf import read_idf
from pyserini_ext.provenance import describe
from pyserini_ext.train import losses
from pyserini_ext.train.batches import Batches, choose_negatives
from pyserini_ext.train.loop import Loop, finish
from pyserini_ext.train.sparse_data import (
    Documents,
    Example,
    choose_columns,
    choose_ranked,
    corpus_idf,
    read_examples,
)
from pyserini_ext.train.sparse_layout import write_layout
from pyserini_ext.train.sparse_model import SparseModel
from pyserini_ext.train.states import States

SAMPLE = 1024
"""Tokens of a batch that stand for all that do not occur in it."""

START_TOKENS = 50_000
"""Tokens of documents that a new head is fitted on."""


class SparseLoss:
    """The loss of a batch.

    Parameters
    ----------
    model : SparseModel
    documents : Documents
    batches : Batches
    args : Namespace
        Of the subcommand.
    states : States, optional
        Hidden states of the documents, where the body is not trained.
    """

    def __init__(
        self,
        model: SparseModel,
        documents: Documents,
        batches: Batches,
        args: argparse.Namespace,
        states: States | None = None,
    ) -> None:
        self.model, self.documents, self.batches, self.args = model, documents, batches, args
        self.states = states
        known = np.array([token is not None for token in by_id(model.tokenizer.get_vocab())])
        known[model.tokenizer.all_special_ids] = False
        self.allowed = np.flatnonzero(known)

    def __call__(self, step: int, part: int) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the loss of a part of a step, and its terms."""
        args = self.args
        batch = step * args.accumulate + part
        numbers = self.batches.numbers(batch)
        examples = self.batches.examples(batch)
        distil = args.loss == "distillation"
        targets = []
        rows = np.empty((len(examples), args.documents), dtype=np.int64)
        for place, example in enumerate(examples):
            if distil:
                chosen = choose_ranked(example, args.documents, numbers)
                rows[place] = example.rows[chosen]
                targets.append(example.target[chosen])
            else:
                rows[place] = choose_negatives(example, args.documents, numbers)
        distinct, columns_of = np.unique(rows, return_inverse=True)
        texts = [self.documents[row] for row in distinct.tolist()]
        columns, shares = choose_columns(
            texts, [example.tokens for example in examples], self.allowed, SAMPLE, numbers
        )
        if self.states is None:
            weights = self.model.encode(texts, columns)
        else:
            kept = [self.states[row] for row in distinct.tolist()]
            weights = self.model.encode_states(kept, columns)
        device = weights.device
        scores = self._queries(examples, columns).to(device) @ weights.T
        own = torch.from_numpy(columns_of.reshape(rows.shape)).to(device)
        if distil:
            teacher = torch.tensor(np.array(targets), dtype=torch.float32, device=device)
            ranking = losses.distillation(scores.gather(1, own), teacher)
        else:
            known = np.array([np.isin(distinct, example.positives) for example in examples])
            known[np.arange(len(examples)), columns_of.reshape(rows.shape)[:, 0]] = False
            ranking = losses.contrastive(scores, own[:, 0], torch.from_numpy(known).to(device))
        stands_for = torch.from_numpy(shares).to(device)
        penalty = losses.flops(weights, stands_for, args.l0)
        loss = ranking + args.flops * losses.ramp(step, args.flops_ramp) * penalty
        with torch.no_grad():
            shown = {
                "ranking": float(ranking),
                "flops": float(losses.flops(weights, stands_for)),
                "nonzeros": float(losses.nonzeros(weights, stands_for).mean()),
            }
        return loss, shown

    @staticmethod
    def _queries(examples: list[Example], columns: np.ndarray) -> torch.Tensor:
        out = torch.zeros(len(examples), len(columns))
        for row, example in zip(out, examples, strict=True):
            row[_places(columns, example.tokens)] = torch.from_numpy(example.weights)
        return out


def _places(columns: np.ndarray, tokens: np.ndarray) -> torch.Tensor:
    order = np.argsort(columns)
    return torch.from_numpy(order[np.searchsorted(columns, tokens, sorter=order)])


def train(
    args: argparse.Namespace, request: dict[str, Any], part: Path, device: torch.device
) -> None:
    """Train, or go on training, and write the checkpoint.

    Parameters
    ----------
    args : Namespace
        Of the subcommand, defaults filled in.
    request : dict
        What tells this training from others.
    part : Path
        Folder for unfinished work.
    device : torch.device
    """
    torch.manual_seed(args.seed)
    model = SparseModel(args.checkpoint, args.activation, device, args.dtype)
    limit = longest_input(model.model.base_model)
    if limit is not None and args.max_length > limit:
        raise InputError(
            f"--max-length is {args.max_length}, but {args.checkpoint} has {limit} positions"
        )
    documents = Documents(args.corpus, model.tokenizer, args.max_length)
    idf = read_idf(args.idf) if args.idf else corpus_idf(documents, model.tokenizer)
    distil = args.loss == "distillation"
    examples = read_examples(
        args.candidates,
        documents,
        InferenceFreeEncoder(args.checkpoint, weights=idf),
        model.tokenizer.get_vocab(),
        lambda scores: losses.ensemble(scores, args.teacher_scale if distil else 1.0),
        args.documents,
        positives=not distil,
    )
    batches = Batches(examples, args.queries, args.topic_share, args.seed)
    if model.headless and not (part / "state.json").is_file():
        model.start_head(_sample(documents, args.seed))
    rate = args.learning_rate
    head_rate = args.head_learning_rate or rate * (10 if model.headless else 1)
    body = f"{model.model.base_model_prefix}."
    states = None
    if args.states:
        states = _kept_states(args, request, model, documents)
        # The decoder, tied or not, rests as well: it is as large as the embeddings.
        model.model.base_model.requires_grad_(False)
        model.decoder.weight.requires_grad_(False)
    part.mkdir(parents=True, exist_ok=True)
    loop = Loop(
        model.model,
        part,
        request,
        steps=args.steps,
        rates={"": head_rate, body: rate},
        warmup=args.warmup,
        accumulate=args.accumulate,
        save_every=args.save_every,
    )
    loop.run(SparseLoss(model, documents, batches, args, states))
    made = part / "model"
    model.model.save_pretrained(made)
    model.tokenizer.save_pretrained(made)
    write_layout(made, idf, args.activation, args.max_length, model.decoder.out_features)
    about = describe(
        {name: value for name, value in vars(args).items() if name != "main"},
        {"corpus": args.corpus, "candidates": args.candidates, "checkpoint": args.checkpoint},
        queries=len(examples),
        topics=sum(example.topic for example in examples),
        new_head=model.headless,
        history=loop.history,
    )
    write_json(made / "training.json", about)
    finish(part, made, Path(args.output))


def _kept_states(
    args: argparse.Namespace, request: dict[str, Any], model: SparseModel, documents: Documents
) -> States:
    names = ("checkpoint", "corpus", "max_length", "dtype")
    return States(
        Path(args.states),
        {name: request[name] for name in names},
        [documents[row] for row in range(len(documents))],
        model.states,
        model.batch_tokens,
    )


def _sample(documents: Documents, seed: int) -> list[np.ndarray]:
    out: list[np.ndarray] = []
    count = 0
    for row in np.random.default_rng([seed, 3]).permutation(len(documents)).tolist():
        out.append(documents[row])
        count += len(out[-1])
        if count >= START_TOKENS:
            break
    return out
