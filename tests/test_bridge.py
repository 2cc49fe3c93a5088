"""Plugins inside Pyserini's own commands.

Importing Pyserini takes seconds, so the commands are run by few processes; what argparse is told,
and the adapters, are tested without Pyserini.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pyserini_ext import bridge, plugins
from pyserini_ext.adapters.encoders import DocumentAdapter, QueryAdapter, encoder_options
from pyserini_ext.adapters.feedback import FeedbackAdapter
from pyserini_ext.adapters.sparse import SparseDocumentAdapter
from pyserini_ext.encode.bm25_impact import BM25Impact
from pyserini_ext.encode.vector_file import float32_digits
from pyserini_ext.errors import InputError
from pyserini_ext.hits import Hits
from pyserini_ext.widen import Command, PluginMethod

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "plugin"
WORDS = [f"word{number}" for number in range(30)]

DRIVER = """
import contextlib, io, json, sys
from pyserini_ext.bridge import install, run

results = []
for arguments in json.loads(sys.argv[1]):
    out, err, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run(arguments[0], arguments[1:])
        except SystemExit as error:
            status = error.code
        except Exception as error:
            status = f"{type(error).__name__}: {error}"
    results.append([status, out.getvalue(), err.getvalue()])

import pyserini.encode
before = pyserini.encode.query_encoder_class_map
install()
install()
queries = pyserini.encode.query_encoder_class_map
documents = pyserini.encode.document_encoder_class_map
facts = {
    "restored": type(before) is dict,
    "keys": list(queries) == list(before) and "hashing" not in queries,
    "ance": queries["ance"] is before["ance"],
    "query": queries["hashing"](encoder_dir="hashing", device="cpu", dimension=5)
    .encode("apple").tolist(),
    "document": documents["hashing"](model_name="hashing", dimension=5)
    .encode(["apple"], max_length=256).tolist(),
}
with open(sys.argv[2], "w") as out:
    json.dump({"results": results, "facts": facts}, out)
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with the example plugin installed, sixty documents, seven topics and an index."""
    faiss = pytest.importorskip("faiss")
    folder = tmp_path_factory.mktemp("bridge")
    pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run(
        [sys.executable, *pip, str(folder / "site"), str(EXAMPLE)],
        check=True,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(WORDS, 6, replace=False)) for _ in range(60)]
    topics = [" ".join(random.choice(WORDS, 3, replace=False)) for _ in range(7)]
    (folder / "docs").mkdir()
    with (folder / "docs" / "docs.jsonl").open("w") as out:
        for number, text in enumerate(texts):
            print(json.dumps({"id": f"d{number}", "contents": text}), file=out)
    (folder / "qrels.txt").write_text("1 0 d0 1\n")
    lines = [f"{number}\t{topic}\n" for number, topic in enumerate(topics, 1)]
    (folder / "topics.tsv").write_text("".join(lines))
    index = faiss.IndexFlatIP(384)
    index.add(random.standard_normal((60, 384), dtype=np.float32))
    (folder / "random").mkdir()
    faiss.write_index(index, str(folder / "random" / "index"))
    (folder / "random" / "docid").write_text("".join(f"d{number}\n" for number in range(60)))
    return SimpleNamespace(folder=folder, texts=texts, topics=topics)


def python(work, *arguments, **environment):
    path = [str(work.folder / "site"), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=work.folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), **environment},
        capture_output=True,
        text=True,
    )


ENCODER = "--encoder-class hashing --encoder-arg dimension=64"
SEARCH = f"pyserini.search.faiss --topics topics.tsv --hits 5 --index made {ENCODER}"
DECAY = "--prf-method decay --prf-depth 3 --prf-arg rate=0.25"
SPARSE = "pyserini.encode input --corpus docs --fields text output --embeddings"
BM25 = "encoder --encoder-class bm25-impact"
COMMANDS = {
    "encode": "pyserini.encode input --corpus docs --fields text "
    f"output --embeddings made --to-faiss encoder {ENCODER}",
    "sparse": f"{SPARSE} sparse {BM25} --encoder-arg average_length=6 --batch-size 7",
    "sparse index": f"{SPARSE} unmade --to-faiss {BM25} --encoder-arg average_length=6",
    "sparse dimension": f"{SPARSE} unmade {BM25} --encoder-arg average_length=6 --dimension 9",
    "sparse length": f"{SPARSE} unmade {BM25}",
    "sparse norm": f"{SPARSE} unmade {BM25} --l2-norm",
    "single": f"{SEARCH} {DECAY} --output single.txt",
    "batch": f"{SEARCH} {DECAY} --output batch.txt --batch-size 4 --threads 2",
    "index": "pyserini.index.lucene --collection JsonCollection --input docs --index lucene "
    "--generator DefaultLuceneDocumentGenerator",
    "hybrid": f"pyserini.search.hybrid dense --index made {ENCODER} sparse --index lucene "
    "fusion --alpha 0 --hits 60 run --topics topics.tsv --hits 5 --output hybrid.txt",
    "evaluate": "pyserini.eval.trec_eval -m map qrels.txt hybrid.txt",
    "help": "pyserini.search.faiss --help",
    "dimension": "pyserini.encode input --corpus docs output --embeddings unmade "
    f"encoder {ENCODER} --dimension 768",
    "wrong class": f"{SEARCH} --encoder-class hasing --output unmade.txt",
    "pooling": f"{SEARCH} --pooling mean --output unmade.txt",
    "no depth": f"{SEARCH} --prf-method decay --output unmade.txt",
}
CASES = {name: command.split() for name, command in COMMANDS.items()}


@pytest.fixture(scope="module")
def driven(work):
    """Every case, run in one process through `bridge.run`, and facts about `install`."""
    done = python(work, "-c", DRIVER, json.dumps(list(CASES.values())), "driven.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((work.folder / "driven.json").read_text())
    results = dict(zip(CASES, found["results"], strict=True))
    for name in ("encode", "sparse", "single", "batch", "index", "hybrid"):
        assert results[name][0] in (0, None), results[name]
    return SimpleNamespace(results=results, facts=found["facts"])


@pytest.fixture(scope="module")
def example(work):
    """The module of the example plugin."""
    sys.path.insert(0, str(EXAMPLE))
    import pyserini_ext_example

    sys.path.remove(str(EXAMPLE))
    return pyserini_ext_example


@pytest.fixture(scope="module")
def vectors(work, example):
    encoder = example.HashingEncoder(dimension=64)
    return encoder.encode(work.topics), encoder.encode(work.texts)


def read_run(path):
    rows = [line.split() for line in path.read_text().splitlines()]
    return {
        qid: [(row[2], float(row[4])) for row in rows if row[0] == qid]
        for qid in dict.fromkeys(row[0] for row in rows)
    }


def assert_run(path, scores):
    """The run holds the best five of `scores` (topics x documents) for every topic."""
    run = read_run(path)
    assert list(run) == [str(number) for number in range(1, len(scores) + 1)]
    for row, hits in zip(scores, run.values(), strict=True):
        best = np.argsort(-row, kind="stable")[:5]
        assert [docid for docid, _ in hits] == [f"d{number}" for number in best]
        np.testing.assert_allclose([score for _, score in hits], row[best], atol=2e-6)


def test_encode_writes_the_plugins_vectors_in_their_own_dimension(work, driven, vectors):
    faiss = pytest.importorskip("faiss")
    index = faiss.read_index(str(work.folder / "made" / "index"))
    np.testing.assert_array_equal(index.reconstruct_n(0, 60), vectors[1])


def test_encode_writes_sparse_vectors_as_json_lines(work, driven):
    lines = (work.folder / "sparse" / "embeddings.jsonl").read_text().splitlines()
    expected = BM25Impact(average_length=6).encode_documents(work.texts)
    assert [json.loads(line) for line in lines] == [
        {"id": f"d{n}", "contents": text, "vector": float32_digits(vector)}
        for n, (text, vector) in enumerate(zip(work.texts, expected, strict=True))
    ]


@pytest.mark.parametrize("run", ["single", "batch"])
def test_search_with_encoder_and_feedback_equals_numpy(work, driven, vectors, run):
    queries, documents = vectors
    refined = []
    for query in queries:
        top = documents[np.argsort(-(documents @ query), kind="stable")[:3]]
        weights = 0.25 ** np.arange(4)
        refined.append(weights @ np.vstack((query, top)) / weights.sum())
    assert_run(work.folder / f"{run}.txt", np.array(refined) @ documents.T)
    assert "Running FaissSearcher with DECAY PRF" in driven.results[run][1]


def test_hybrid_search_takes_the_encoder(work, driven, vectors):
    queries, documents = vectors
    # alpha 0 leaves the dense scores.
    assert_run(work.folder / "hybrid.txt", queries @ documents.T)


def test_commands_that_run_java_themselves_run_the_right_one(driven):
    status, out, err = driven.results["evaluate"]
    assert status in (0, None), err
    assert "map" in out


def test_help_shows_the_plugins(driven):
    status, out, _ = driven.results["help"]
    assert status == 0
    words = " ".join(out.split())
    assert "usage: __main__.py" in words or "python -m pyserini.search.faiss" in words
    assert "hashing" in words
    # Not those that need a guide, token vectors or sparse queries.
    assert re.search(r"avg or rocchio\. Plugins: decay [^,]", words)
    assert "--prf-arg name=value" in words


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("dimension", "InputError: --dimension 768 does not match the encoder 'hashing', whose"),
        ("pooling", "InputError: --pooling cannot be used with the encoder 'hashing', which"),
        ("sparse index", "InputError: --to-faiss cannot be used with the encoder 'bm25-impact'"),
        ("sparse dimension", "InputError: --dimension cannot be used with the encoder 'bm25"),
        ("sparse length", "InputError: the average length of documents is not known"),
        ("sparse norm", "InputError: --l2-norm cannot be used with the encoder 'bm25-impact'"),
        ("no depth", "InputError: --prf-method decay needs --prf-depth of at least 1"),
    ],
)
def test_what_a_plugin_cannot_do_is_refused_before_anything_is_opened(work, driven, case, message):
    assert driven.results[case][0].startswith(message)
    assert not (work.folder / "unmade").exists()


def test_an_unknown_class_is_argparses_error_and_lists_the_plugins(driven):
    status, _, err = driven.results["wrong class"]
    assert status == 2
    assert "invalid choice: 'hasing'" in err
    assert "hashing" in err


def test_install_adds_to_pyserinis_maps_without_changing_what_they_hold(driven, example):
    vector = example.HashingEncoder(dimension=5).encode(["apple"])
    np.testing.assert_allclose(driven.facts["query"], vector[0], atol=1e-7)
    np.testing.assert_allclose(driven.facts["document"], vector, atol=1e-7)
    assert all(driven.facts[name] for name in ("restored", "keys", "ance"))


def test_without_plugins_a_command_is_pyserinis_to_the_byte(work, minilm_path):
    """The checkpoint's path holds the name of a plugin, which must not be guessed from it."""
    from pyserini_ext.jvm import find_java

    assert "minilm" in str(minilm_path)
    options = ["--index", "random", "--topics", "topics.tsv", "--encoder", str(minilm_path)]
    options += ["--pooling", "mean", "--l2-norm", "--prf-depth", "2", "--prf-method", "avg"]
    options += ["--batch-size", "3", "--output"]
    module = ["-m", "pyserini.search.faiss", *options, "plain.txt"]
    # With several threads the model itself differs in the last digit from run to run.
    one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    java = {"JAVA_HOME": str(find_java()), "OPENAI_API_KEY": "placeholder"}
    plain = python(work, *module, **one, **java)
    ours = python(work, "-m", "pyserini_ext", *module[1:-1], "ours.txt", **one)
    assert (plain.returncode, ours.returncode) == (0, 0), plain.stderr + ours.stderr
    same = ("plain.txt", "ours.txt")
    assert (work.folder / same[0]).read_bytes() == (work.folder / same[1]).read_bytes()
    assert plain.stdout.replace(*same) == ours.stdout


def test_an_unknown_command_is_refused_without_importing_pyserini(work):
    done = python(work, "-m", "pyserini_ext", "pyserini.serch.faiss")
    assert done.returncode == 2
    assert done.stderr.startswith("error: Pyserini has no command 'pyserini.serch.faiss'; did you")
    assert "mean pyserini.search.faiss? commands are: " in done.stderr


@pytest.mark.parametrize("name", ["os", "pyserini", "pyserini.search.nothing", "search.faiss"])
def test_only_pyserinis_commands_are_run(name):
    with pytest.raises(InputError, match="Pyserini has no command"):
        bridge.check_module(name)


def test_commands_are_found_without_importing_them():
    assert {"pyserini.encode", "pyserini.search.lucene", "pyserini.fusion"} <= set(
        bridge.commands()
    )


# -- what argparse is told -------------------------------------------------------------------------


class Words:
    """An encoder that remembers its options."""

    dimension = 4

    def __init__(self, checkpoint="own", normalise=False, query_prefix="", max_length=9):
        self.options = (checkpoint, normalise, query_prefix, max_length)

    def encode(self, queries):
        return [[float(len(query))] * 4 for query in queries]


class Counts:
    """A sparse encoder that is not there for queries."""

    def encode_documents(self, texts, titles=None):
        return [{"a": float(len(text)), "b": -1.0 if text == "bad" else 1.0} for text in texts]


class Twice:
    """Feedback that doubles the query."""

    def __init__(self, depth=2, times=2.0):
        self.depth, self.times = depth, times

    def refine(self, queries, vectors, feedback, store):
        return vectors * self.times


class Reader(Twice):
    requires_text = True


class Fixed(Twice):
    def __init__(self):
        super().__init__(depth=7)


@pytest.fixture
def fakes(monkeypatch):
    """Plugins that are registered for one test."""
    there = {
        "encoder": {"words": Words, "auto": Words},
        "sparse-encoder": {"counts": Counts, "words": Counts},
        "feedback": {"twice": Twice, "reader": Reader, "fixed": Fixed, "avg": Twice},
    }

    def find(kind, name):
        return SimpleNamespace(
            name=name,
            distribution="fakes 1.0",
            load=lambda: there[kind][name],
            available=True,
        )

    monkeypatch.setattr(plugins, "find", find)
    monkeypatch.setattr(plugins, "names", lambda kind: list(there[kind]))


def parse(arguments, module="pyserini.search.faiss"):
    """Build a parser such as Pyserini's in a widened argparse."""
    command = Command(module, own={"auto", "ance"})
    with command.options():
        parser = argparse.ArgumentParser()
        choices = ["auto", "ance"]
        parser.add_argument("--encoder-class", metavar="c", choices=choices, default=None, help="x")
        parser.add_argument("--encoder")
        parser.add_argument("--encoded-queries")
        parser.add_argument("--device", default="cpu")
        parser.add_argument("--pooling", default="cls", choices=["cls", "mean"])
        parser.add_argument("--l2-norm", action="store_true")
        parser.add_argument("--query-prefix", default=None)
        parser.add_argument("--max-length", type=int, default=256)
        parser.add_argument("--searcher", default="simple")
        parser.add_argument("--rocchio-alpha", type=float, default=0.9)
        parser.add_argument("--prf-depth", type=int, default=0)
        parser.add_argument("--prf-method", default="avg", help="y")
        namespace = parser.parse_args(arguments)
    return command, namespace


def test_a_preset_needs_no_encoder_option(fakes):
    command, namespace = parse(["--encoder-class", "words"])
    assert namespace.encoder == "words"
    adapter = command.encoder("words", "cpu", document=False)
    assert adapter.encoder.options == ("own", False, "", 9)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_what_the_user_gave_reaches_the_plugin_and_defaults_do_not(fakes, order):
    given = ["--encoder-class=words", "--encoder=other", "--l2-norm", "--query-prefix=q:"][order]
    command, namespace = parse([*given, "--encoder-arg", "max-length=5"])
    assert namespace.encoder == "other"
    adapter = command.encoder("words", "cpu", document=False)
    assert adapter.encoder.options == ("other", True, "q: ", 5)


def test_pyserinis_own_names_stay_its_own(fakes):
    command, namespace = parse(["--encoder-class", "auto", "--prf-method", "avg"])
    assert (namespace.encoder, command.feedback) == (None, None)
    assert command.encoders == ["words"]
    # A sparse encoder of a name that a dense one has is out of reach here.
    assert Command("pyserini.encode", own={"auto"}).encoders == ["words", "counts"]
    assert not isinstance(namespace.prf_method, PluginMethod)


def test_a_feedback_plugin_gets_depth_and_arguments(fakes):
    arguments = ["--prf-method", "twice", "--prf-depth", "5", "--prf-arg", "times=3"]
    command, namespace = parse(arguments)
    assert (command.feedback.method.depth, command.feedback.method.times) == (5, 3)
    assert (namespace.prf_method.lower(), namespace.prf_method.upper()) == ("avg", "TWICE")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--encoder-class words --pooling mean", "--pooling cannot be used with .*'words'"),
        ("--encoder-class words --encoder-arg a=1", "--encoder-arg a cannot be used with"),
        ("--encoder-class words --max-length 3 --encoder-arg max_length=4", "already given"),
        ("--encoder-class words --encoded-queries x", "cannot be used together"),
        ("--encoder-class auto --encoder-arg a=1", "--encoder-arg needs --encoder-class"),
        ("--prf-method twice", "needs --prf-depth of at least 1"),
        ("--prf-method twice --prf-depth 3 --searcher bpr", "the default --searcher"),
        ("--prf-method twice --prf-depth 3 --rocchio-alpha 1", "--rocchio-alpha is not for"),
        ("--prf-method twice --prf-depth 3 --prf-arg depth=3", "give the depth as --prf-depth"),
        ("--prf-method twice --prf-depth 3 --prf-arg x=3", "'twice' .* has no option 'x'"),
        ("--prf-method reader --prf-depth 3", "'reader' reads the text of .*pyserini_ext.search"),
        ("--prf-method fixed --prf-depth 3", "reads 7 feedback documents; give --prf-depth 7"),
        ("--prf-method rocchio --prf-depth 3 --prf-arg a=3", "--prf-arg needs --prf-method"),
    ],
)
def test_what_cannot_be_expressed_is_refused(fakes, arguments, message):
    with pytest.raises(InputError, match=message):
        parse(arguments.split())


def test_hybrid_refuses_feedback_which_it_would_ignore(fakes):
    with pytest.raises(InputError, match="hybrid reads --prf-method but does no feedback"):
        parse(["--prf-method", "twice", "--prf-depth", "3"], module="pyserini.search.hybrid")


def test_a_device_that_the_encoder_does_not_know_is_refused_if_asked_for(fakes):
    command, _ = parse(["--encoder-class", "words", "--device", "cuda:0"])
    with pytest.raises(InputError, match="--device cuda:0 cannot be used with"):
        command.encoder("words", "cuda:0", document=False)
    command, _ = parse(["--encoder-class", "words"])
    assert command.encoder("words", "cuda:0", document=False)


def test_argparse_is_as_it_was_afterwards(fakes):
    before = argparse.ArgumentParser.parse_args, argparse._ActionsContainer.add_argument
    with pytest.raises(InputError):
        parse(["--prf-method", "twice"])
    after = argparse.ArgumentParser.parse_args, argparse._ActionsContainer.add_argument
    assert before == after


# -- adapters --------------------------------------------------------------------------------------


def test_sparse_documents_are_dictionaries_of_float32():
    adapter = SparseDocumentAdapter(Counts())
    options = {"fp16": False, "max_length": 256, "add_sep": False}
    assert adapter.encode(["x", "abc"], titles=["", "t"], **options) == [
        {"a": 1.0, "b": 1.0},
        {"a": 3.0, "b": 1.0},
    ]
    # Pyserini's collection has None for a field that is missing.
    assert adapter.encode([None, "ab"], titles=["t", None], **options)[0] == {"a": 0.0, "b": 1.0}
    with pytest.raises(InputError, match="Counts gave a weight that is negative"):
        adapter.encode(["bad"])
    with pytest.raises(InputError, match="--fields url: an encoder plugin reads only"):
        adapter.encode(["a"], urls=["b"])


def test_query_adapter_gives_one_vector_or_a_matrix():
    adapter = QueryAdapter(Words())
    assert adapter.encode("abc").tolist() == [3.0] * 4
    batch = adapter.encode_batch(["a", "bb"])
    assert (batch.dtype, batch.shape) == (np.float32, (2, 4))


def test_document_adapter_joins_titles_as_pyserini_does_unless_the_encoder_does():
    adapter = DocumentAdapter(Words())
    assert adapter.encode(["abc"], titles=["t"])[0, 0] == len("t abc")
    encoder = Words()
    encoder.encode_documents = lambda texts, titles=None: np.full((len(texts), 4), len(titles))
    assert DocumentAdapter(encoder).encode(["abc"], titles=["t"])[0, 0] == 1
    with pytest.raises(InputError, match="--fields url: an encoder plugin reads only"):
        adapter.encode(["abc"], urls=["x"])


def test_document_lengths_are_the_documents(fakes, monkeypatch):
    with pytest.raises(InputError, match="no option 'document_max_length'"):
        encoder_options("words", {"max_length": 5}, document=True)
    assert encoder_options("words", {"max_length": 5}, document=False) == {"max_length": 5}


@pytest.mark.parametrize("vectors", [[1.0, 2.0], [[1.0], [2.0]], [[float("nan")]]])
def test_vectors_of_a_wrong_shape_or_value_are_refused(vectors):
    with pytest.raises(InputError, match="SimpleNamespace returned"):
        QueryAdapter(SimpleNamespace(encode=lambda queries: vectors)).encode("q")


def test_feedback_adapter_hands_over_pyserinis_documents_in_their_order():
    seen = {}

    class Spy:
        depth = 2

        def refine(self, queries, vectors, feedback, store):
            seen.update(queries=queries, feedback=feedback, store=store)
            return vectors + [store.vectors(hits.docids).sum(axis=0) for hits in feedback]

    documents = [
        SimpleNamespace(docid=d, score=1.0, vectors=[v, 0.0])
        for d, v in zip("ba", (1, 2), strict=True)
    ]
    adapter = FeedbackAdapter(Spy())
    candidates = {"q1": documents, "q2": []}
    refined = adapter.get_batch_prf_q_emb(["q1", "q2"], np.zeros((2, 2)), candidates)
    assert refined.tolist() == [[3.0, 0.0], [0.0, 0.0]]
    assert seen["queries"] is None
    assert [type(hits) for hits in seen["feedback"]] == [Hits, Hits]
    assert seen["feedback"][0].docids.tolist() == ["b", "a"]
    assert adapter.get_prf_q_emb(np.array([1.0, 1.0]), documents).tolist() == [4.0, 1.0]
    store = seen["store"]
    with pytest.raises(InputError, match="'z' is not among those retrieved"):
        store.vectors(["b", "z"])
    assert store.vectors(["z", "b"], missing="zero").tolist() == [[0.0, 0.0], [1.0, 0.0]]
    assert store.vectors(["z", "b"], missing="skip").tolist() == [[1.0, 0.0]]
