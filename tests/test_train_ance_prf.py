"""``python -m pyserini_ext.train ance-prf`` on tiny random models and made-up vectors."""

import argparse
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from prf_checkpoints import save_ance, save_wordpiece
from safetensors.torch import load_file

from pyserini_ext.encode.ance_prf import AncePRF
from pyserini_ext.encode.dense import BiEncoder
from pyserini_ext.encode.prf_input import write_settings
from pyserini_ext.errors import InputError
from pyserini_ext.feedback.vector import Average
from pyserini_ext.hits import Hits
from pyserini_ext.index.matrix_writer import MatrixWriter
from pyserini_ext.index.open import open_vectors
from pyserini_ext.run import Run
from pyserini_ext.search.dense import DenseSearcher
from pyserini_ext.search.feedback import FeedbackSearcher
from pyserini_ext.texts import open_texts
from pyserini_ext.train import __main__ as command
from pyserini_ext.train import losses, prf_task
from pyserini_ext.train.batches import Batches, choose_negatives
from pyserini_ext.train.loop import Loop
from pyserini_ext.train.prf_data import PrfExample, first_stage, read_queries
from pyserini_ext.train.prf_dev import MEASURE, Dev
from pyserini_ext.train.prf_loss import PrfLoss
from pyserini_ext.train.prf_model import PrfModel, save_checkpoint

NAMES = ["whale", "shark", "violin", "piano", "moon", "sun"]
NAMES += ["rain", "snow", "bread", "cheese", "lens", "mirror"]
COUNT, WIDTH = 30, 16
TEXTS = {
    f"d{i}": f"{NAMES[i % 12]} {NAMES[(i * 5 + 1) % 12]}{' rain' * (i % 4)}" for i in range(COUNT)
}
QUERIES = {f"q{i}": f"{NAMES[i]} {NAMES[(i + 3) % 12]}" for i in range(12)}
# d29 is relevant to all, d99 is not in the index, and 0 is not relevant.
QRELS = {q: {f"d{i}": 1 + i % 2, "d29": 1, "d99": 1, "d3": 0} for i, q in enumerate(QUERIES, 12)}


def save_bert(folder, seed=1):
    """A BERT of 16 dimensions that knows the words, pooled by mean and not normalised."""
    torch.manual_seed(seed)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *NAMES]
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64, pad_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    vocabulary = {word: number for number, word in enumerate(words)}
    transformers.BertTokenizerFast(vocab=vocabulary).save_pretrained(folder)
    return folder


def save_store(folder, vectors, docids=tuple(TEXTS), metric="ip"):
    with MatrixWriter(folder, vectors.shape[1], metric=metric) as out:
        out.append(list(docids), vectors)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A checkpoint, document vectors, texts, topics, qrels and a first-stage run."""
    folder = tmp_path_factory.mktemp("prf")
    save_bert(folder / "bert")
    random = np.random.default_rng(3)
    save_store(folder / "store", random.standard_normal((COUNT, WIDTH)).astype(np.float32))
    rows = ({"id": docid, "contents": text} for docid, text in TEXTS.items())
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "topics.tsv").write_text("".join(f"{q}\t{text}\n" for q, text in QUERIES.items()))
    write_qrels(folder / "qrels.txt", QRELS)
    Run(
        (qid, Hits([f"d{i}" for i in random.permutation(COUNT)], np.arange(COUNT, 0, -1.0)))
        for qid in QUERIES
    ).save(folder / "run.txt")
    return folder


def write_qrels(path, qrels):
    path.write_text("".join(f"{q} 0 {d} {g}\n" for q, own in qrels.items() for d, g in own.items()))


def words(place, output, *more, **changed):
    options = {
        "topics": place / "topics.tsv", "qrels": place / "qrels.txt", "index": place / "store",
        "texts": place / "corpus.jsonl", "checkpoint": place / "bert", "family": "bi-encoder",
        "pooling": "mean", "max-length": 40, "run": place / "run.txt", "output": output,
        "epochs": 2, "batch": 5, "passages": 6, "learning-rate": 1e-3, "threads": 1,
    }  # fmt: skip
    options |= {name.replace("_", "-"): value for name, value in changed.items()}
    given = [f"--{n}={value}" for n, value in options.items() if value is not None]
    return ["ance-prf", *given, *map(str, more)]


def parsed(line):
    """The options of a command line, as `main` gets them."""
    parser = argparse.ArgumentParser()
    from pyserini_ext.train import ance_prf

    ance_prf.add_options(parser)
    args = parser.parse_args(line[1:])
    args.dtype = args.dtype or "float32"
    return args


def parts(place, *more, **changed):
    """Everything that `train` puts together, before the first step."""
    args = parsed(words(place, place / "none", *more, **changed))
    queries = read_queries(args)
    settings, method = prf_task.load(args, queries.store)
    encoder = prf_task.first_encoder(args, settings.name)
    found = first_stage(queries, args.run, encoder, method.depth, args.depth, 1)
    texts = open_texts(args.texts)
    given = prf_task.read(queries.train, found, method, texts)
    alone = encoder if args.anchor else None
    examples = prf_task.make_examples(given, found, queries, method, alone)
    return args, queries, method, found, given, examples


def same(one, other):
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


# -- the loss --------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["ip", "cosine"])
@pytest.mark.parametrize("in_batch", [False, True])
def test_the_loss_is_that_of_the_formula(place, tmp_path, in_batch, metric):
    store = open_vectors(place / "store")
    if metric == "cosine":
        save_store(tmp_path / "cosine", store.take(np.arange(COUNT)), metric="cosine")
        store = open_vectors(tmp_path / "cosine")
    _, _, method, _, _, examples = parts(place)
    model = PrfModel(method.encoder)
    batches = Batches(examples, 5, 1.0, seed=2)
    loss = PrfLoss(model, batches, store, 6, 0.3, in_batch=in_batch, accumulate=2)
    found, shown = loss(3, 1)

    batch = 3 * 2 + 1
    numbers, chosen = batches.numbers(batch), batches.examples(batch)
    drawn = [choose_negatives(each, 6, numbers) for each in chosen]
    every = np.concatenate(drawn)
    losses, right = [], []
    for each, own in zip(chosen, drawn, strict=True):
        tokens = torch.tensor([each.tokens])
        with torch.no_grad():
            vector = method.encoder._model(input_ids=tokens)[0][0].double().mean(0).numpy()
        assert own[0] in each.positives
        others = set((every if in_batch else own[1:]).tolist()) - set(each.positives.tolist())
        documents = store.take(np.array([own[0], *sorted(others)])).astype(np.float64)
        if metric == "cosine":
            vector = vector / np.linalg.norm(vector)
            documents /= np.linalg.norm(documents, axis=1, keepdims=True)
        scores = documents @ vector / 0.3
        losses.append(np.log(np.exp(scores - scores[0]).sum()))
        right.append(scores.argmax() == 0)
    assert float(found.detach()) == pytest.approx(np.mean(losses), rel=1e-5)
    assert shown["right"] == pytest.approx(np.mean(right))


def test_only_the_query_encoder_is_moved(place):
    _, queries, method, _, _, examples = parts(place)
    model = PrfModel(method.encoder)
    before = queries.store.take(np.arange(COUNT)).copy()
    loss = PrfLoss(model, Batches(examples, 12, 1.0, 0), queries.store, 6, 1.0)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    loss(0, 0)[0].backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    # The pooler is no part of the vector; the bias of keys cancels in the softmax but for rounding.
    expected = {n for n, _ in model.named_parameters() if "pooler" not in n}
    assert {n for n in expected if "key.bias" not in n} <= moved <= expected
    optimiser.step()
    np.testing.assert_array_equal(queries.store.take(np.arange(COUNT)), before)


def test_no_relevant_document_is_ever_a_negative(place):
    _, _, _, _, given, examples = parts(place)
    for qid, each in zip(given.qids, examples, strict=True):
        judged = QRELS[qid]
        good = {int(d[1:]) for d, grade in judged.items() if grade > 0 and d in TEXTS}
        assert set(each.positives.tolist()) == good
        for seed in range(30):
            first, *others = choose_negatives(each, 21, np.random.default_rng(seed))
            assert first in good
            assert not good & set(others)


def test_in_batch_documents_that_are_relevant_are_left_out(place):
    """All queries share d29: with one passage drawn besides, it must never be pushed away."""
    store = open_vectors(place / "store")
    _, _, method, _, _, examples = parts(place)
    only = [e._replace(positives=np.array([29, 20 + i])) for i, e in enumerate(examples[:4])]
    loss = PrfLoss(PrfModel(method.encoder), Batches(only, 4, 1.0, 0), store, 2, 1.0, True)
    seen = []
    original = losses.contrastive

    def record(scores, positive, left_out):
        seen.append((positive, left_out))
        return original(scores, positive, left_out)

    losses.contrastive = record
    try:
        for step in range(10):
            loss(step, 0)
    finally:
        losses.contrastive = original
    for step, (positive, left_out) in enumerate(seen):
        batch = loss.batches.examples(step)
        numbers = loss.batches.numbers(step)
        rows = np.unique([choose_negatives(e, 2, numbers) for e in batch])
        for query, each in enumerate(batch):
            out = left_out[query].numpy()
            kept = rows[~out]
            assert set(kept) & set(each.positives.tolist()) == {rows[int(positive[query])]}


def test_negatives_come_from_the_first_documents_of_the_run(place):
    run = Run.read(place / "run.txt")
    _, _, method, found, given, examples = parts(place, depth=7)
    assert method.depth == 3
    for qid, each in zip(given.qids, examples, strict=True):
        assert [f"d{row}" for row in each.rows] == run[qid].docids[:7].tolist()
        assert found[qid].docids == run[qid].docids[:3].tolist()


def test_the_anchor_is_rocchio_of_the_same_run(place):
    _, queries, method, _, given, examples = parts(place, anchor=3)
    run, encoder = Run.read(place / "run.txt"), BiEncoder(place / "bert", pooling="mean")
    for qid, query, each in zip(given.qids, given.queries, examples, strict=True):
        documents = queries.store.vectors(run[qid].docids[:5])
        expected = 0.4 * encoder.encode([query])[0] + 0.6 * documents.mean(0)
        np.testing.assert_allclose(each.anchor, expected, atol=1e-5)
    batches = Batches(examples, 4, 1.0, 0)
    model = PrfModel(method.encoder)
    plain, _ = PrfLoss(model, batches, queries.store, 6, 1.0)(0, 0)
    held, shown = PrfLoss(model, batches, queries.store, 6, 1.0, anchor=3.0)(0, 0)
    chosen = batches.examples(0)
    vectors = model([each.tokens for each in chosen]).detach().numpy().astype(np.float64)
    anchors = np.array([each.anchor for each in chosen], dtype=np.float64)
    cosines = (vectors * anchors).sum(1)
    cosines /= np.linalg.norm(vectors, axis=1) * np.linalg.norm(anchors, axis=1)
    assert shown["away"] == pytest.approx(1 - cosines.mean(), abs=1e-6)
    difference = float((held - plain).detach())
    assert difference == pytest.approx(3 * (1 - cosines.mean()), abs=1e-5)


# -- the input, the model and the folder -----------------------------------------------------------


def test_what_is_read_is_what_inference_reads(place):
    """Token ids in training equal those that AncePRF gives its model for the same feedback."""
    _, _, method, _, _, examples = parts(place, max_length=12)
    run, seen = Run.read(place / "run.txt"), []
    forward = method.encoder._forward

    def record(ids, mask):
        seen.extend(row[keep.astype(bool)].tolist() for row, keep in zip(ids, mask, strict=True))
        return forward(ids, mask)

    method.encoder._forward = record
    zeros = np.zeros((len(QUERIES), WIDTH), np.float32)
    texts = lambda docids: [TEXTS[docid] for docid in docids]  # noqa: E731
    method.refine(list(QUERIES.values()), zeros, [run[q] for q in QUERIES], None, texts)
    assert sorted(seen) == sorted(each.tokens for each in examples)
    assert max(map(len, seen)) == 12


FAMILIES = {
    "ance": (save_ance, {"max-length": 30}),
    "tas-b": (lambda folder: save_wordpiece(folder, "distilbert"), {"max-length": 30}),
    "tct-colbert-v2": (save_wordpiece, {"max-length": 60}),
    "bi-encoder": (
        save_wordpiece,
        {"template": "query: {query} {documents}", "separator": " / ", "pooling": "last"},
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_folder_gives_the_vectors_of_the_trained_model(place, tmp_path, family, monkeypatch):
    save, options = FAMILIES[family]
    save(tmp_path / "begin")
    width = 768 if family == "ance" else 16
    random = np.random.default_rng(1)
    save_store(tmp_path / "store", random.standard_normal((COUNT, width)).astype(np.float32))
    kept = []
    monkeypatch.setattr(
        prf_task, "save_checkpoint", lambda m, *a: (kept.append(m), save_checkpoint(m, *a))
    )
    line = words(
        place, tmp_path / "made", checkpoint=tmp_path / "begin", index=tmp_path / "store",
        family=family, **{"max-length": 40, "pooling": None, "k": 2, "epochs": 1, **options},
    )  # fmt: skip
    command.main(line)
    names = {file.name for file in (tmp_path / "made").iterdir()}
    assert {"model.safetensors", "prf.json", "config.json", "training.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    assert not (tmp_path / "made.part").exists()
    loaded = AncePRF(tmp_path / "made")  # no option says what it is
    assert loaded.depth == 2
    queries, documents = ["a moon", "sea"], [["the sea", "light"], ["moon " * 20]]
    (model,) = kept
    tokens = loaded.encoder.token_ids(
        loaded.encoder.texts(queries, documents), loaded.encoder.max_length
    )
    found = loaded.encoder.encode_feedback(queries, documents)
    np.testing.assert_allclose(found, model(tokens).detach().numpy(), atol=1e-5)
    began = AncePRF(
        tmp_path / "begin", k=2, family=family,
        **{name.replace("-", "_"): value for name, value in options.items()},
    )  # fmt: skip
    assert np.abs(found - began.encoder.encode_feedback(queries, documents)).max() > 1e-4


def test_the_first_stage_is_the_initial_encoder_where_there_is_no_run(place):
    _, queries, method, found, _, _ = parts(place, run=None, k=3)
    assert method.depth == 3
    encoder = BiEncoder(place / "bert", pooling="mean")
    expected = DenseSearcher(place / "store", encoder).batch_search(
        list(QUERIES.values()), list(QUERIES), 1000
    )
    for qid in QUERIES:
        assert found[qid].docids == expected[qid].docids[:3].tolist()
        assert queries.store.docids[found[qid].rows].tolist() == expected[qid].docids.tolist()


def test_a_random_model_learns_a_toy_collection(place, tmp_path):
    qrels = {qid: {f"d{i}": 1} for i, qid in enumerate(QUERIES)}
    write_qrels(tmp_path / "qrels.txt", qrels)
    line = words(
        place, tmp_path / "made", run=None, qrels=tmp_path / "qrels.txt", epochs=120, batch=12,
        passages=21, **{"learning-rate": 1e-2},
    )  # fmt: skip
    command.main(line)
    about = json.loads((tmp_path / "made" / "training.json").read_text())
    assert about["history"][-1]["loss"] < 0.1 * about["history"][0]["loss"]
    assert about["steps"] == 120
    dense = DenseSearcher(place / "store", BiEncoder(place / "bert", pooling="mean"))
    trained = FeedbackSearcher(dense, AncePRF(tmp_path / "made"), texts=place / "corpus.jsonl")
    found = trained.batch_search(list(QUERIES.values()), list(QUERIES), 1)
    assert [found[q][0].docid for q in QUERIES] == [f"d{i}" for i in range(12)]
    average = FeedbackSearcher(dense, Average(3)).batch_search(
        list(QUERIES.values()), list(QUERIES), 1
    )
    assert sum(average[q][0].docid == f"d{i}" for i, q in enumerate(QUERIES)) < 6


def test_texts_may_come_from_a_lucene_index(place, tmp_path):
    (tmp_path / "corpus").mkdir()
    shutil.copy(place / "corpus.jsonl", tmp_path / "corpus")
    for name, stored in (("lucene", ["--storeRaw"]), ("bare", [])):
        line = [sys.executable, "-m", "pyserini_ext", "pyserini.index.lucene", *stored]
        line += ["--collection", "JsonCollection", "--input", str(tmp_path / "corpus")]
        line += ["--generator", "DefaultLuceneDocumentGenerator", "--threads", "1"]
        subprocess.run([*line, "--index", str(tmp_path / name)], check=True, capture_output=True)
    texts = open_texts(tmp_path / "lucene")
    assert texts(["d7", "d2", "nowhere", "d1"]) == [
        *(TEXTS[docid] for docid in ("d7", "d2")),
        None,
        TEXTS["d1"],
    ]
    _, _, _, _, given, examples = parts(place, texts=tmp_path / "lucene")
    _, _, _, _, expected, same_examples = parts(place)
    assert given == expected
    assert [e.tokens for e in examples] == [e.tokens for e in same_examples]
    with pytest.raises(InputError, match="--storeRaw"):
        command.main(words(place, tmp_path / "m", texts=tmp_path / "bare"))


# -- going on, and the best epoch ------------------------------------------------------------------


class Killed(BaseException):
    """Stands for kill -9."""


@pytest.mark.parametrize(
    "more",
    [{}, {"accumulate": 2}, {"dtype": "float16"}, {"dev-fraction": 0.25}],
    ids=["plain", "accumulate", "float16", "dev"],
)
@pytest.mark.parametrize("died", [1, 3, 6])
def test_a_killed_run_goes_on_to_the_same_model(place, tmp_path, monkeypatch, more, died):
    more = {"epochs": 4, "save-every": 2, "learning-rate": 5e-3, **more}
    command.main(words(place, tmp_path / "whole", **more))
    step, seen = Loop._step, []

    def dying(self, loss):
        if self.step == min(died, self.steps - 1) and not seen:
            seen.append(1)
            raise Killed
        return step(self, loss)

    monkeypatch.setattr(Loop, "_step", dying)
    with pytest.raises(Killed):
        command.main(words(place, tmp_path / "killed", **more))
    assert not (tmp_path / "killed").exists()
    command.main(words(place, tmp_path / "killed", **more))
    assert same(tmp_path / "whole", tmp_path / "killed")
    whole, killed = (
        json.loads((tmp_path / name / "training.json").read_text()) for name in ("whole", "killed")
    )
    assert whole["history"] == killed["history"]
    assert whole.get("dev") == killed.get("dev")


def test_the_best_epoch_is_kept(place, tmp_path, monkeypatch):
    """Of epochs 0 to 3 the second is made the best, so the folder has its weights."""
    values, seen = iter([0.1, 0.2, 0.4, 0.4]), []

    def measure(self):
        state = {n: t.clone() for n, t in self.encoder._model.state_dict().items()}
        seen.append(state)
        return next(values)

    monkeypatch.setattr(Dev, "measure", measure)
    command.main(words(place, tmp_path / "made", epochs=3, **{"dev-fraction": 0.25}))
    about = json.loads((tmp_path / "made" / "training.json").read_text())
    assert about["best_epoch"] == 2
    assert [each[MEASURE] for each in about["dev"]] == [0.1, 0.2, 0.4, 0.4]
    assert about["queries"] == 9
    assert about["dev_queries"] == 3
    for name, tensor in load_file(tmp_path / "made" / "model.safetensors").items():
        assert torch.equal(tensor, seen[2][name])
    assert not all(torch.equal(seen[3][n], t) for n, t in seen[2].items())


def test_dev_queries_are_searched_exactly_and_not_trained_on(place, tmp_path):
    (tmp_path / "dev.tsv").write_text("q10\tmoon\nq11\tsun lens\n")
    (tmp_path / "rest.tsv").write_text("".join(f"{q}\t{QUERIES[q]}\n" for q in list(QUERIES)[:10]))
    changed = {
        "topics": tmp_path / "rest.tsv",
        "dev_topics": tmp_path / "dev.tsv",
        "dev_qrels": place / "qrels.txt",
    }
    args, queries, method, found, given, _ = parts(place, **changed)
    assert given.qids == list(QUERIES)[:10]
    assert list(queries.dev) == ["q10", "q11"]
    texts = open_texts(args.texts)
    dev = Dev(method.encoder, *prf_task.read(queries.dev, found, method, texts), queries)
    vectors = method.encoder.encode_feedback(
        ["moon", "sun lens"], [[TEXTS[d] for d in found[q].docids] for q in queries.dev]
    )
    expected = []
    for qid, vector in zip(queries.dev, vectors, strict=True):
        scores = queries.store.take(np.arange(COUNT)) @ vector
        grades = np.array([max(0, QRELS[qid].get(f"d{i}", 0)) for i in np.argsort(-scores)[:10]])
        discount = 1 / np.log2(np.arange(2, 12))
        ideal = np.sort(list(QRELS[qid].values()))[::-1][:10]
        expected.append((grades * discount).sum() / (ideal * discount[: len(ideal)]).sum())
    assert dev.measure() == pytest.approx(np.mean(expected), abs=1e-6)


def test_half_precision_is_near_and_leaves_weights_in_float32(place):
    _, _, method, _, _, examples = parts(place)
    tokens = [each.tokens for each in examples]
    whole = PrfModel(method.encoder)(tokens).detach().numpy()
    for dtype in ("bfloat16", "float16"):
        half = PrfModel(method.encoder, dtype)(tokens)
        assert half.dtype == torch.float32
        assert 0 < np.abs(half.detach().numpy() - whole).max() < 0.05 * np.abs(whole).max()
    assert {p.dtype for p in method.encoder._model.parameters()} == {torch.float32}


# -- mistakes --------------------------------------------------------------------------------------


MISTAKES = [
    ({"qrels": "nowhere.txt"}, "no such file: nowhere.txt"),
    ({"run": "nowhere.txt"}, "no such file: nowhere.txt"),
    ({"index": "nowhere"}, "no such index folder: nowhere"),
    ({"texts": "nowhere.jsonl"}, "nowhere.jsonl"),
    ({"checkpoint": "no/such/checkpoint"}, "no such checkpoint"),
    ({"family": "t5"}, "no family is called 't5'"),
    ({"template": "{query}"}, "must name {documents} once"),
    ({"max-length": 1000}, "has 64 positions"),
    ({"epochs": 0}, "--epochs is 0"),
    ({"passages": 1}, "--passages is 1"),
    ({"k": 0}, "--k is 0"),
    ({"learning-rate": "nan"}, "--learning-rate is nan"),
    ({"temperature": 0}, "--temperature is 0"),
    ({"anchor": -1}, "--anchor is -1"),
    ({"dev-fraction": 1}, "--dev-fraction is 1"),
    ({"dev-fraction": 0.99}, "leaves none to train on"),
    ({"dev-topics": "a.tsv"}, "belong together"),
    ({"encoder": "minilm"}, "leave one out"),
    ({"depth": 1, "qrels": "first"}, "no query to train on"),
    ({"device": "nowhere"}, "device 'nowhere'"),
]


@pytest.mark.parametrize(("changed", "message"), MISTAKES, ids=[str(c) for c, _ in MISTAKES])
def test_mistakes_are_named_before_any_work(place, tmp_path, changed, message):
    if changed.get("qrels") == "first":  # all that depth 1 finds is relevant
        run = Run.read(place / "run.txt")
        write_qrels(tmp_path / "first", {q: {run[q][0].docid: 1} for q in QUERIES})
        changed = changed | {"qrels": tmp_path / "first"}
    with pytest.raises(InputError, match=message):
        command.main(words(place, tmp_path / "m", **changed))
    assert not (tmp_path / "m").exists()
    assert not (tmp_path / "m.part").exists()


@pytest.mark.parametrize(
    "qrels", [{"other": {"d1": 1}}, {"q1": {"d1": 0}}, {"q1": {"elsewhere": 1}}]
)
def test_qrels_without_a_usable_query_are_refused(place, tmp_path, qrels):
    write_qrels(tmp_path / "qrels.txt", qrels)
    with pytest.raises(InputError, match=r"none of 12 queries has a relevant document"):
        command.main(words(place, tmp_path / "m", qrels=tmp_path / "qrels.txt"))


def test_another_k_than_the_recorded_one_is_refused(place, tmp_path):
    save_bert(tmp_path / "prf")
    write_settings(tmp_path / "prf", 2, pooling="mean")
    line = {"checkpoint": tmp_path / "prf", "family": None, "pooling": None}
    with pytest.raises(InputError, match=r"k=3, but .* was trained with k=2"):
        command.main(words(place, tmp_path / "m", k=3, **line))
    with pytest.raises(InputError, match="is a PRF encoder already"):
        command.main(words(place, tmp_path / "m", run=None, **line))
    command.main(words(place, tmp_path / "m", epochs=1, **line))
    assert AncePRF(tmp_path / "m").depth == 2


def test_documents_without_vectors_or_texts_and_other_dimensions_are_refused(place, tmp_path):
    vectors = np.ones((COUNT, 8), np.float32)
    save_store(tmp_path / "narrow", vectors)
    with pytest.raises(InputError, match=r"vectors of 16 dimensions, but those in .* have 8"):
        command.main(words(place, tmp_path / "m", index=tmp_path / "narrow"))
    save_store(tmp_path / "few", np.ones((20, WIDTH), np.float32), list(TEXTS)[10:])
    with pytest.raises(InputError, match=r"has no vector in .*few \(10 of 30 are missing\)"):
        command.main(words(place, tmp_path / "m", index=tmp_path / "few"))
    save_store(tmp_path / "far", np.ones((COUNT, WIDTH), np.float32), metric="l2")
    with pytest.raises(InputError, match="searched by distance"):
        command.main(words(place, tmp_path / "m", index=tmp_path / "far"))
    lines = (place / "corpus.jsonl").read_text().splitlines()
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines[:5]))
    with pytest.raises(InputError, match="has no text"):
        command.main(words(place, tmp_path / "m", texts=tmp_path / "corpus.jsonl"))
    Run({"other": Hits(["d1"], [1.0])}).save(tmp_path / "run.txt")
    with pytest.raises(InputError, match="hits for none of the training queries"):
        command.main(words(place, tmp_path / "m", run=tmp_path / "run.txt"))


def test_a_query_in_both_parts_is_refused(place, tmp_path):
    both = {"dev_topics": place / "topics.tsv", "dev_qrels": place / "qrels.txt"}
    with pytest.raises(InputError, match="in --topics and in --dev-topics"):
        command.main(words(place, tmp_path / "m", **both))


def test_what_is_there_is_not_replaced_unless_told(place, tmp_path):
    (tmp_path / "m").mkdir()
    with pytest.raises(InputError, match="exists already"):
        command.main(words(place, tmp_path / "m"))
    command.main(words(place, tmp_path / "m", "--overwrite"))
    assert (tmp_path / "m" / "prf.json").is_file()


def test_unfinished_training_of_another_command_is_refused(place, tmp_path, monkeypatch):
    monkeypatch.setattr(prf_task, "finish", lambda *_: None)
    command.main(words(place, tmp_path / "m", **{"save-every": 2}))
    with pytest.raises(InputError, match="another seed"):
        command.main(words(place, tmp_path / "m", seed=9))


def test_examples_are_topics():
    assert PrfExample([1], np.array([0]), np.array([1])).topic
