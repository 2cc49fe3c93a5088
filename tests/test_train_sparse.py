"""``python -m pyserini_ext.train sparse`` on tiny random models."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from pyserini_ext.encode.sparse_document import SparseDocumentEncoder
from pyserini_ext.encode.sparse_encoder import make_sparse_encoder
from pyserini_ext.errors import InputError
from pyserini_ext.hits import Hits
from pyserini_ext.index.idf import compute_idf
from pyserini_ext.run import Run
from pyserini_ext.train import __main__ as command
from pyserini_ext.train import candidates as candidates_command
from pyserini_ext.train.batches import Batches
from pyserini_ext.train.loop import Loop
from pyserini_ext.train.queries import Query, pseudo_queries, training_queries
from pyserini_ext.train.sparse_data import Documents, choose_columns, choose_ranked
from pyserini_ext.train.sparse_model import NEVER, SparseModel

NAMES = ["whale", "shark", "violin", "piano", "moon", "sun"]
NAMES += ["rain", "snow", "bread", "cheese", "lens", "mirror"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *NAMES]
SMALL = {
    "vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 32, "pad_token_id": 0,
}  # fmt: skip
TEXTS = [" ".join(NAMES[(i + j) % len(NAMES)] for j in range(4)) for i in range(len(NAMES))]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two checkpoints, a corpus, and candidates of two made-up teachers."""
    folder = tmp_path_factory.mktemp("train")
    torch.manual_seed(1)
    config = transformers.BertConfig(**SMALL, initializer_range=0.1)
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = transformers.BertTokenizerFast(vocab=vocabulary, model_max_length=32)
    for kind in (transformers.BertModel, transformers.BertForMaskedLM):
        name = {"BertModel": "body", "BertForMaskedLM": "whole"}[kind.__name__]
        model = kind(config)
        with torch.no_grad():
            # As in a trained model, a state tells what token it is the state of.
            model.get_input_embeddings().weight.mul_(5)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    with (folder / "corpus.jsonl").open("w") as out:
        for number, text in enumerate(TEXTS):
            print(json.dumps({"id": f"d{number}", "title": text[:5], "text": text}), file=out)
    queries = [Query(f"topic:{i}", f"{a} {b}", (f"d{i}",)) for i, (a, b) in enumerate(pairs())]
    queries += [Query(f"pseudo:d{i}", NAMES[i], (f"d{i}",)) for i in range(len(NAMES))]
    candidates_command.write_candidates(
        folder / "candidates.jsonl", {}, queries, [Teacher(1), Teacher(2)], 8
    )
    return folder


def pairs():
    return list(zip(NAMES, NAMES[1:] + NAMES[:1], strict=True))


class Teacher:
    """Scores a document by how many words of the query it has, and a little noise."""

    def __init__(self, seed):
        self.seed = seed

    def score(self, queries, docids):
        return [
            np.array([self._score(query, int(docid[1:])) for docid in some])
            for query, some in zip(queries, docids, strict=True)
        ]

    def _score(self, query, row):
        noise = np.random.default_rng([self.seed, row, len(query)]).random() / 10
        return sum(word in TEXTS[row].split() for word in query.split()) + noise

    def batch_search(self, queries, qids, k, threads):
        every = [f"d{row}" for row in range(len(TEXTS))]
        scores = self.score(queries, [every] * len(queries))
        return Run((q, Hits(every, s).head(k)) for q, s in zip(qids, scores, strict=True))


def words(place, output, *more, checkpoint="body"):
    options = {
        "--corpus": place / "corpus.jsonl", "--candidates": place / "candidates.jsonl",
        "--checkpoint": place / checkpoint, "--output": output, "--steps": 6, "--queries": 3,
        "--documents": 4, "--max-length": 12, "--head-learning-rate": 1e-3, "--threads": 1,
    }  # fmt: skip
    return ["sparse", *(str(w) for pair in options.items() for w in pair), *map(str, more)]


def same(one, other):
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("checkpoint", ["body", "whole"])
@pytest.mark.parametrize("activation", ["log1p", "log1p-log1p"])
def test_the_folder_is_an_inference_free_model(place, tmp_path, checkpoint, activation):
    command.main(words(place, tmp_path / "m", "--activation", activation, checkpoint=checkpoint))
    assert not (tmp_path / "m.part").exists()
    encoder = make_sparse_encoder(str(tmp_path / "m"))
    df = [sum(name in text.split() or text[:5] == name for text in TEXTS) for name in NAMES]
    idf = dict(zip(NAMES, compute_idf(df, len(TEXTS)), strict=True))
    assert encoder.encode("moon moon rain") == pytest.approx({k: idf[k] for k in ("moon", "rain")})
    documents = SparseDocumentEncoder(tmp_path / "m")
    assert (documents.activation, documents.document_max_length) == (activation, 12)
    model = SparseModel(str(tmp_path / "m"), activation, torch.device("cpu"))
    assert not model.headless
    read = Documents(str(place / "corpus.jsonl"), model.tokenizer, 12)
    expected = model.encode([read[0], read[5]], np.arange(len(WORDS))).detach().numpy()
    titles, texts = [TEXTS[0][:5], TEXTS[5][:5]], [TEXTS[0], TEXTS[5]]
    found = encoder.encode_documents(texts, titles)
    for row, vector in zip(expected, found, strict=True):
        assert vector == pytest.approx({WORDS[i]: row[i] for i in np.flatnonzero(row)}, abs=1e-5)
    about = json.loads((tmp_path / "m" / "training.json").read_text())
    assert about["queries"] == 24
    assert about["history"][-1]["step"] == 6


def test_sentence_transformers_reads_the_document_side(place, tmp_path):
    library = pytest.importorskip("sentence_transformers", minversion="5.0")
    command.main(words(place, tmp_path / "m"))
    theirs = library.SparseEncoder(str(tmp_path / "m"), device="cpu")
    ours = make_sparse_encoder(str(tmp_path / "m")).encode_documents(TEXTS[:3])
    found = theirs.encode_document(TEXTS[:3]).to_dense().numpy()
    for row, vector in zip(found, ours, strict=True):
        assert vector == pytest.approx({WORDS[i]: row[i] for i in np.flatnonzero(row)}, abs=1e-4)


class Killed(BaseException):
    """Stands for kill -9: nothing between the two halves of a save catches it."""


@pytest.mark.parametrize("more", [(), ("--accumulate", "2"), ("--loss", "contrastive"), "states"])
@pytest.mark.parametrize("died", [1, 3, 5])
def test_a_killed_run_goes_on_to_the_same_model(place, tmp_path, monkeypatch, more, died):
    if more == "states":
        more = ("--states", tmp_path / "states.f16")
    more = (*more, "--save-every", 2)
    command.main(words(place, tmp_path / "whole", *more))
    step, seen = Loop._step, []

    def dying(self, loss):
        if self.step == died and not seen:
            seen.append(1)
            raise Killed
        return step(self, loss)

    monkeypatch.setattr(Loop, "_step", dying)
    with pytest.raises(Killed):
        command.main(words(place, tmp_path / "killed", *more))
    assert not (tmp_path / "killed").exists()
    command.main(words(place, tmp_path / "killed", *more))
    assert same(tmp_path / "whole", tmp_path / "killed")
    histories = [
        json.loads((tmp_path / name / "training.json").read_text())["history"]
        for name in ("whole", "killed")
    ]
    assert histories[0] == histories[1]


def test_a_process_that_is_killed_while_it_saves_goes_on(place, tmp_path):
    """The state is cut off in the middle of the file: the one before is still whole."""
    script = (
        "import os, sys; import pyserini_ext.train.loop as loop\n"
        "write, count = loop.write_json, []\n"
        "def dying(path, content):\n"
        "    count.append(path)\n"
        "    if len(count) == 2: os.kill(os.getpid(), 9)\n"
        "    write(path, content)\n"
        "loop.write_json = dying\n"
        "from pyserini_ext.train.__main__ import main; main(sys.argv[1:])"
    )
    more = ("--save-every", 2)
    line = words(place, tmp_path / "killed", *more)
    done = subprocess.run([sys.executable, "-c", script, *line], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    state = json.loads((tmp_path / "killed.part" / "state.json").read_text())
    assert state["step"] == 2
    command.main(line)
    command.main(words(place, tmp_path / "whole", *more))
    assert same(tmp_path / "whole", tmp_path / "killed")


def test_a_seed_gives_the_same_model_and_another_seed_another(place, tmp_path):
    for name, seed in (("one", 4), ("two", 4), ("three", 5)):
        command.main(words(place, tmp_path / name, "--seed", seed))
    assert same(tmp_path / "one", tmp_path / "two")
    assert not same(tmp_path / "one", tmp_path / "three")


@pytest.mark.parametrize("loss", ["distillation", "contrastive"])
def test_the_loss_falls_and_the_right_documents_win(place, tmp_path, loss):
    more = ("--steps", 60, "--queries", 8, "--flops", 0, "--loss", loss, "--learning-rate", 5e-3)
    more = (*more, "--head-learning-rate", 2e-2)
    command.main(words(place, tmp_path / "m", *more))
    history = json.loads((tmp_path / "m" / "training.json").read_text())["history"]
    assert history[-1]["ranking"] < 0.6 * history[0]["ranking"]
    encoder = make_sparse_encoder(str(tmp_path / "m"))
    vectors = encoder.encode_documents(TEXTS, [text[:5] for text in TEXTS])
    good = 0
    for first, second in pairs():
        query = encoder.encode(f"{first} {second}")
        scores = [sum(w * v.get(t, 0) for t, w in query.items()) for v in vectors]
        best = TEXTS[int(np.argmax(scores))].split()
        good += first in best and second in best
    assert good >= 9


def test_flops_makes_vectors_sparser(place, tmp_path):
    counts = []
    for name, weight in (("free", 0), ("pressed", 5)):
        more = ("--steps", 40, "--flops", weight, "--flops-ramp", 5, "--l0", 0)
        command.main(words(place, tmp_path / name, *more))
        history = json.loads((tmp_path / name / "training.json").read_text())["history"]
        counts.append(history[-1]["flops"])
    assert counts[1] < 0.8 * counts[0]


def test_a_new_head_gives_documents_their_own_tokens_first(place):
    model = SparseModel(str(place / "body"), "log1p", torch.device("cpu"))
    assert model.headless
    assert model.decoder.weight is model.model.get_input_embeddings().weight
    documents = Documents(str(place / "corpus.jsonl"), model.tokenizer, 12)
    rows = [documents[row] for row in range(len(documents))]
    model.start_head(rows)
    weights = model.encode(rows, np.arange(len(WORDS))).detach().numpy()
    own = np.array([[i in row for i in range(len(WORDS))] for row in rows])
    own[:, :5] = False
    assert weights[own].mean() > 2 * weights[~own].mean()
    assert not weights[:, :5].any()
    assert float(model.decoder.bias[2].detach()) == NEVER


def test_weights_from_kept_states_and_of_some_columns_are_the_same(place):
    model = SparseModel(str(place / "whole"), "log1p", torch.device("cpu"))
    documents = Documents(str(place / "corpus.jsonl"), model.tokenizer, 12)
    rows = [documents[0], documents[3][:3], documents[7]]
    every = model.encode(rows, np.arange(len(WORDS))).detach().numpy()
    columns = np.array([9, 5, 12])
    np.testing.assert_allclose(
        model.encode(rows, columns).detach().numpy(), every[:, columns], atol=1e-6
    )
    states = [model.states([row])[0].astype(np.float16) for row in rows]
    np.testing.assert_allclose(
        model.encode_states(states, columns).detach().numpy(), every[:, columns], atol=0.02
    )


KINDS = {
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "vocab_size": 17},
    "roberta": SMALL,
    "modernbert": SMALL | {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("headless", [True, False])
def test_other_encoders_are_trained_too(place, tmp_path, kind, headless):
    torch.manual_seed(1)
    config = transformers.AutoConfig.for_model(kind, **KINDS[kind])
    auto = transformers.AutoModel if headless else transformers.AutoModelForMaskedLM
    auto.from_config(config).save_pretrained(tmp_path / "c")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(place / "body" / name, tmp_path / "c" / name)
    line = [*words(place, tmp_path / "m", "--steps", 2), "--checkpoint", str(tmp_path / "c")]
    if headless and kind == "modernbert":
        with pytest.raises(InputError, match="layers without bias"):
            command.main(line)
        return
    command.main(line)
    about = json.loads((tmp_path / "m" / "training.json").read_text())
    assert about["new_head"] is headless
    vectors = make_sparse_encoder(str(tmp_path / "m")).encode_documents(TEXTS[:2])
    assert set(vectors[0]) <= set(NAMES)


# -- data ------------------------------------------------------------------------------------------


def test_batches_go_through_all_queries_before_one_comes_again(place):
    examples = [type("E", (), {"topic": i < 6, "number": i})() for i in range(20)]
    batches = Batches(examples, 4, 0.5, seed=1)
    seen = [[e.number for e in batches.examples(b)] for b in range(6)]
    assert all(sum(number < 6 for number in batch) == 2 for batch in seen)
    assert sorted(n for batch in seen[:3] for n in batch if n < 6) == list(range(6))
    again = Batches(examples, 4, 0.5, seed=1)
    assert [e.number for e in again.examples(5)] == seen[5]
    assert [e.number for e in Batches(examples[:6], 4, 0.5, seed=1).examples(0)]


def test_documents_of_a_query_come_from_the_head_of_the_list_and_from_the_rest():
    example = type("E", (), {"rows": np.arange(40)})()
    for seed in range(20):
        chosen = choose_ranked(example, 8, np.random.default_rng(seed))
        assert len(set(chosen)) == 8
        assert (chosen < 10).sum() == 4
    short = type("E", (), {"rows": np.arange(8)})()
    assert sorted(choose_ranked(short, 8, np.random.default_rng(0))) == list(range(8))


def test_columns_stand_for_the_whole_vocabulary():
    columns, shares = choose_columns(
        [np.array([2, 5, 7])], [np.array([9])], np.arange(5, 105), 12, np.random.default_rng(0)
    )
    assert {5, 7, 9} <= set(columns.tolist())
    assert 2 not in columns
    assert len(set(columns)) == len(columns) == 15
    assert shares.sum() == pytest.approx(100)


def test_pseudo_queries_are_titles_or_first_words(tmp_path):
    corpus = tmp_path / "c.jsonl"
    rows = [{"id": "a", "title": "The sea", "text": "x"}, {"id": "b", "text": "One two. Three."}]
    rows += [{"id": "c", "text": "word"}, {"id": "d", "text": "w " * 30}]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    from pyserini_ext.collection import open_collection

    found = {q.qid: q for q in pseudo_queries(open_collection(corpus), 9, 0)}
    assert {qid: q.text for qid, q in found.items()} == {
        "pseudo:a": "The sea", "pseudo:b": "One two.", "pseudo:d": " ".join("w" * 12),
    }  # fmt: skip
    assert found["pseudo:b"].positives == ("b",)
    two = pseudo_queries(open_collection(corpus), 2, 3)
    assert [q.qid for q in two] == sorted(q.qid for q in two)
    assert two == pseudo_queries(open_collection(corpus), 2, 3)
    with pytest.raises(InputError, match="no queries to train on"):
        training_queries(open_collection(corpus), None, None, 0, 0)


def test_candidates_go_on_where_they_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(candidates_command, "BATCH", 2)
    queries = [Query(str(i), f"{a} {b}") for i, (a, b) in enumerate(pairs())]
    teachers = [Teacher(1), Teacher(2)]
    write = candidates_command.write_candidates
    write(tmp_path / "whole.jsonl", {"a": 1}, queries, teachers, 3)
    search = candidates_command.search_teachers

    def dying(teachers, batch, *rest):
        if batch[0].qid == "6":
            raise Killed
        return search(teachers, batch, *rest)

    monkeypatch.setattr(candidates_command, "search_teachers", dying)
    with pytest.raises(Killed):
        write(tmp_path / "k.jsonl", {"a": 1}, queries, teachers, 3)
    part = tmp_path / "k.jsonl.part"
    part.write_bytes(part.read_bytes()[:-7])  # a torn line
    monkeypatch.setattr(candidates_command, "search_teachers", search)
    with pytest.raises(InputError, match="another command"):
        write(tmp_path / "k.jsonl", {"a": 2}, queries, teachers, 3)
    write(tmp_path / "k.jsonl", {"a": 1}, queries, teachers, 3)
    assert (tmp_path / "k.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    rows = {f"d{i}": i for i in range(len(TEXTS))}
    first = next(candidates_command.read_candidates(tmp_path / "k.jsonl", rows))
    assert first.scores.shape == (2, len(first.docids))
    for teacher, row in zip(teachers, first.scores, strict=True):
        expected = teacher.score([first.query], [first.docids])[0]
        np.testing.assert_allclose(row, expected, rtol=1e-6)


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--candidates", "nowhere.jsonl"), "no such file: nowhere.jsonl"),
        (("--steps", "-1"), "--steps is -1"),
        (("--documents", "1"), "--documents is 1"),
        (("--flops", "-1"), "--flops is -1"),
        (("--topic-share", "2"), "--topic-share is 2"),
        (("--loss", "contrastive", "--teacher-scale", "3"), "--teacher-scale belongs to"),
        (("--max-length", "64"), "has 32 positions"),
        (("--checkpoint", "no/such/checkpoint"), "no such checkpoint"),
        (("--corpus", "nowhere.jsonl"), "no such file or folder: nowhere.jsonl"),
        (("--documents", "40"), "no query to train on"),
        (("--learning-rate", "nan"), "--learning-rate is nan"),
        (("--learning-rate", "1e-3", "--states", "s.f16"), "rests with --states"),
    ],
)
def test_mistakes_are_named(place, tmp_path, more, message):
    with pytest.raises(InputError, match=message):
        command.main([*words(place, tmp_path / "m"), *more])
    assert not (tmp_path / "m").exists()


def test_what_is_there_is_not_replaced_unless_told(place, tmp_path):
    (tmp_path / "m").mkdir()
    with pytest.raises(InputError, match="exists already"):
        command.main(words(place, tmp_path / "m"))
    command.main(words(place, tmp_path / "m", "--overwrite"))
    assert (tmp_path / "m" / "idf.json").is_file()


def test_unfinished_training_of_another_command_is_refused(place, tmp_path, monkeypatch):
    monkeypatch.setattr("pyserini_ext.train.sparse_task.finish", lambda *_: None)
    command.main(words(place, tmp_path / "m", "--save-every", "2"))
    with pytest.raises(InputError, match="another seed"):
        command.main(words(place, tmp_path / "m", "--seed", "9"))


def test_candidates_of_another_corpus_are_refused(place, tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_text('{"id": "x", "text": "moon"}\n')
    with pytest.raises(InputError, match="not in the corpus"):
        command.main([*words(place, tmp_path / "m"), "--corpus", str(other)])


def test_a_decoder_and_a_damaged_body_are_refused(place, tmp_path):
    shutil.copytree(place / "body", tmp_path / "broken")
    weights = load_file(tmp_path / "broken" / "model.safetensors")
    weights.pop("encoder.layer.0.output.dense.weight")
    from safetensors.torch import save_file

    save_file(weights, tmp_path / "broken" / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="lacks 1 weights"):
        command.main([*words(place, tmp_path / "m"), "--checkpoint", str(tmp_path / "broken")])
    config = json.loads((place / "body" / "config.json").read_text())
    (tmp_path / "broken" / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))
    with pytest.raises(InputError, match="no head of masked language modelling"):
        command.main([*words(place, tmp_path / "m"), "--checkpoint", str(tmp_path / "broken")])


@pytest.mark.parametrize("name", command.SUBCOMMANDS)
def test_help_shows_an_example_without_torch(name):
    script = (
        "import sys\nfrom pyserini_ext.train.__main__ import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: assert not {'torch', 'transformers', 'faiss', 'jnius'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, name, "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"python -m pyserini_ext.train {name}" in done.stdout
