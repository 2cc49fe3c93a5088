"""Training a PRF query encoder: the data, the model and the loss put together."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from pyserini_ext.encode.ance_prf import AncePRF
from pyserini_ext.encode.model_files import find_file
from pyserini_ext.encode.prf_input import SETTINGS, PrfSettings, settings_of
from pyserini_ext.errors import InputError
from pyserini_ext.feedback.vector import Rocchio
from pyserini_ext.files import write_json
from pyserini_ext.index.vectors import VectorStore
from pyserini_ext.plugins import create
from pyserini_ext.provenance import describe
from pyserini_ext.texts import Texts, open_texts
from pyserini_ext.train.batches import Batches
from pyserini_ext.train.loop import Loop, finish
from pyserini_ext.train.prf_data import (
    PrfExample,
    PrfQueries,
    first_stage,
    positives,
)
from pyserini_ext.train.prf_dev import BestEpoch, Dev
from pyserini_ext.train.prf_loss import PrfLoss
from pyserini_ext.train.prf_model import PrfModel, save_checkpoint
from pyserini_ext.train.prf_options import PAPER_WARMUP, inputs
from pyserini_ext.train.prf_options import SETTINGS as OPTIONS

K = 3
"""Feedback documents: of the paper's 1 to 5, the k whose checkpoint was published."""

UNIT_TEMPERATURE = 0.05
"""Of cosines, which span 2 at most; usual for encoders that normalise."""


class Read(NamedTuple):
    """Queries as they are read: qids, texts, and the texts of their feedback documents."""

    qids: list[str]
    queries: list[str]
    documents: list[list[str]]


def load(args: argparse.Namespace, store: VectorStore) -> tuple[PrfSettings, AncePRF]:
    """Load the model as inference does.

    Raises
    ------
    InputError
        If it is none of the family, was trained for another k, or does not fit to the vectors.
    """
    options = {name: getattr(args, name) for name in OPTIONS}
    missing = options.pop("missing_text")
    settings = settings_of(args.checkpoint, **options)
    alone = not args.run or args.anchor
    if alone and not args.encoder and find_file(args.checkpoint, SETTINGS):
        raise InputError(
            f"{args.checkpoint} is a PRF encoder already ({SETTINGS}), which cannot read a query "
            "alone; name the first stage's encoder with --encoder, or give its --run"
        )
    options["k"] = settings.k or K
    method = AncePRF(args.checkpoint, missing_text=missing, device=args.device, **options)
    if method.encoder.dimension != store.dimension:
        raise InputError(
            f"{args.checkpoint} makes vectors of {method.encoder.dimension} dimensions, but those "
            f"in {args.index} have {store.dimension}; give the encoder that the index was made by"
        )
    return settings, method


def first_encoder(args: argparse.Namespace, family: str) -> Any:
    """Return the encoder of the first stage, None where there is a run and no anchor."""
    if args.run and not args.anchor:
        return None
    if args.encoder:
        from pyserini_ext.encode import make_encoder

        return make_encoder(args.encoder, device=args.device)
    own = {name: getattr(args, name) for name in ("pooling", "normalise")}
    given = {name: value for name, value in own.items() if value is not None}
    # The presets of the other families have their names.
    name = {"ance": "ance-msmarco"}.get(family, family)
    return create("encoder", name, checkpoint=args.checkpoint, device=args.device, **given)


def read(
    some: dict[str, str],
    found: dict[str, Any],
    method: AncePRF,
    texts: Texts,
) -> Read:
    """Put queries and the texts of their feedback together; those without any are left out."""
    qids = [qid for qid in some if qid in found]
    documents = method.documents([found[qid].docids for qid in qids], texts)
    kept = [(qid, own) for qid, own in zip(qids, documents, strict=True) if own]
    return Read([q for q, _ in kept], [some[q] for q, _ in kept], [own for _, own in kept])


def make_examples(
    given: Read,
    found: dict[str, Any],
    queries: PrfQueries,
    method: AncePRF,
    alone: Any = None,
) -> list[PrfExample]:
    """Turn queries into what is trained on; those without any negative are left out.

    Parameters
    ----------
    given : Read
    found : dict of str to Found
    queries : PrfQueries
    method : AncePRF
    alone : object, optional
        Encoder of queries without feedback, where examples are to have an anchor.

    Raises
    ------
    InputError
        If none is left.
    """
    encoder = method.encoder
    tokens = encoder.token_ids(encoder.texts(given.queries, given.documents), encoder.max_length)
    store, rocchio = queries.store, Rocchio()
    vectors = None if alone is None else store.check_queries(alone.encode(given.queries))
    out = []
    for place, (qid, ids) in enumerate(zip(given.qids, tokens, strict=True)):
        rows, good = found[qid].rows, positives(queries.judged[qid], store)
        anchor = None
        if vectors is not None:
            anchor = rocchio.combine(vectors[place], store.take(rows[: rocchio.depth]))
        if len(np.setdiff1d(rows, good)):
            out.append(PrfExample(ids, rows, good, anchor))
    if not out:
        raise InputError(
            "no query to train on: none has the text of a feedback document and, among its hits, "
            "a document that is not known to be relevant"
        )
    return out


def train(
    args: argparse.Namespace,
    request: dict[str, Any],
    queries: PrfQueries,
    part: Path,
    device: torch.device,
) -> None:
    """Train, or go on training, and write the checkpoint.

    Parameters
    ----------
    args : Namespace
        Of the subcommand.
    request : dict
        What tells this training from others.
    queries : PrfQueries
    part : Path
        Folder for unfinished work.
    device : torch.device
    """
    torch.manual_seed(args.seed)
    settings, method = load(args, queries.store)
    alone = first_encoder(args, settings.name)
    found = first_stage(queries, args.run, alone, method.depth, args.depth, args.threads or 1)
    texts = open_texts(args.texts)
    given = read(queries.train, found, method, texts)
    examples = make_examples(given, found, queries, method, alone if args.anchor else None)
    dev = None
    if queries.dev:
        dev = Dev(method.encoder, *read(queries.dev, found, method, texts), queries)
    ends = epoch_ends(len(examples), args.batch * args.accumulate, args.epochs)
    steps = ends[-1]
    unit = method.encoder.normalise or queries.store.metric == "cosine"
    temperature = args.temperature or (UNIT_TEMPERATURE if unit else 1.0)
    warmup = min(PAPER_WARMUP, steps // 10) if args.warmup is None else args.warmup
    model = PrfModel(method.encoder, args.dtype)
    part.mkdir(parents=True, exist_ok=True)
    loop = Loop(
        model,
        part,
        request,
        steps=steps,
        rates={"": args.learning_rate},
        warmup=warmup,
        accumulate=args.accumulate,
        save_every=args.save_every,
        scaler=torch.amp.GradScaler(device.type, enabled=args.dtype == "float16"),
    )
    best = BestEpoch(loop, dev, ends) if dev is not None else None
    loss = PrfLoss(
        model,
        Batches(examples, args.batch, 1.0, args.seed),
        queries.store,
        args.passages,
        temperature,
        args.in_batch,
        args.accumulate,
        args.anchor,
    )
    loop.run(loss, best)
    if best is not None:
        best.restore()
    made = part / "model"
    made.mkdir(exist_ok=True)
    save_checkpoint(model, made, method.depth, settings.name)
    about = describe(
        {name: value for name, value in vars(args).items() if name != "main"},
        inputs(args),
        queries=len(examples),
        dev_queries=len(dev) if dev is not None else 0,
        without_feedback=len(queries.train) - len(examples),
        steps=steps,
        warmup=warmup,
        temperature=temperature,
        history=loop.history,
        **loop.notes,
    )
    write_json(made / "training.json", about)
    finish(part, made, Path(args.output))


def epoch_ends(examples: int, at_once: int, epochs: int) -> Sequence[int]:
    """Return after how many steps each epoch is over.

    Examples
    --------
    >>> epoch_ends(10, 4, 3)
    [3, 5, 8]
    """
    return [math.ceil(epoch * examples / at_once) for epoch in range(1, epochs + 1)]
