"""The inference-free searcher, what an index knows of its encoder, and the .about files."""

import json
import shutil
import subprocess
import sys

import pytest

from pyserini_ext.encode import sparse
from pyserini_ext.encode.bm25_impact import BM25Impact
from pyserini_ext.errors import InputError
from pyserini_ext.index.__main__ import main as index
from pyserini_ext.index.about import FORMAT
from pyserini_ext.index.impact import build_impact_index
from pyserini_ext.run import Run
from pyserini_ext.search.__main__ import main as search
from pyserini_ext.search.impact import ImpactSearcher
from pyserini_ext.search.inference_free import InferenceFreeSearcher

TEXTS = {
    "1": "a sound wave travels through air",
    "2": "light is a wave too and a particle",
    "3": "the air above the sea is cold",
    "4": "particles of light have no mass",
}
QUERY = "the sound of a wave, a wave"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, minilm_path):
    """Vectors of bm25-impact with their .about file."""
    folder = tmp_path_factory.mktemp("corpus")
    lines = [json.dumps({"id": docid, "text": text}) for docid, text in TEXTS.items()]
    (folder / "docs.jsonl").write_text("\n".join(lines))
    output = folder / "vectors" / "v.jsonl"
    given = ["--corpus", folder / "docs.jsonl", "--output", output, "--encoder", "bm25-impact"]
    assert sparse.main([str(each) for each in given]) == 0
    return output.parent


@pytest.fixture(scope="module", params=["query", "premultiplied"])
def built(request, corpus, tmp_path_factory):
    path = tmp_path_factory.mktemp("built") / request.param
    build_impact_index(corpus, path, mode=request.param, progress=False)
    return path


# -- an index knows its encoder --------------------------------------------------------------------


def test_an_index_needs_no_encoder_named(built):
    searcher, named = InferenceFreeSearcher(built), ImpactSearcher(built, "bm25-impact")
    assert searcher.info["encoder"] == {"name": "bm25-impact", "options": {}}
    assert searcher.info["tokenizer"] == BM25Impact().tokenizer_name
    assert searcher.info["idf"] == "collection"
    assert searcher.encode([QUERY]) == named.encode([QUERY])
    assert searcher.search(QUERY) == named.search(QUERY) == ImpactSearcher(built).search(QUERY)
    assert searcher.search(QUERY)[0].docid == "1"


def test_query_weights_are_the_idf_of_the_index(corpus, tmp_path):
    build_impact_index(corpus, tmp_path / "i", progress=False)
    searcher = InferenceFreeSearcher(tmp_path / "i")
    once = {token: searcher.idf[token] for token in ("the", "sound", "of", "a", "wave")}
    assert searcher.encode([QUERY]) == [once]
    (often,) = InferenceFreeSearcher(tmp_path / "i", tf=True).encode([QUERY])
    assert often == {**once, "a": 2 * once["a"], "wave": 2 * once["wave"]}


def test_tokens_that_the_table_lacks_weigh_what_the_index_says(corpus, tmp_path, minilm_path):
    table = {"wave": 2.0}
    (tmp_path / "model").mkdir()
    shutil.copy(minilm_path / "tokenizer.json", tmp_path / "model")
    (tmp_path / "model" / "idf.json").write_text(json.dumps(table))
    build_impact_index(corpus, tmp_path / "i", idf=table, missing_idf=0.5, progress=False)
    model = str(tmp_path / "model")
    for searcher, missing in (
        (InferenceFreeSearcher(tmp_path / "i", model), 0.5),
        (InferenceFreeSearcher(tmp_path / "i", model, missing=1.0), 1.0),
    ):
        assert searcher.encode(["sound wave"]) == [{"sound": missing, "wave": 2.0}]


def test_options_without_meaning_are_refused(corpus, tmp_path):
    build_impact_index(corpus, tmp_path / "i", mode="premultiplied", progress=False)
    with pytest.raises(InputError, match="tf has no effect"):
        InferenceFreeSearcher(tmp_path / "i", tf=True)
    build_impact_index(corpus, tmp_path / "q", progress=False)
    with pytest.raises(InputError, match="tf is an option of encoders that are named; BM25Impact"):
        InferenceFreeSearcher(tmp_path / "q", BM25Impact(), tf=True)


def test_an_index_that_says_nothing_needs_a_name(tmp_path):
    (tmp_path / "v.jsonl").write_text('{"id": "1", "vector": {"wave": 1}}')
    build_impact_index(tmp_path / "v.jsonl", tmp_path / "i", progress=False)
    for searcher in (ImpactSearcher, InferenceFreeSearcher):
        with pytest.raises(InputError, match=r"does not say .* name an encoder"):
            searcher(tmp_path / "i")
    assert ImpactSearcher(tmp_path / "i", BM25Impact(weights={"wave": 1})).search("a wave")


def test_the_command_needs_no_encoder_either(built, tmp_path):
    topics, first, second = tmp_path / "t.tsv", tmp_path / "1.txt", tmp_path / "2.txt"
    topics.write_text(f"q\t{QUERY}\n")
    given = ["--topics", str(topics), "--sparse-index", str(built), "--quiet"]
    search([*given, "--sparse-searcher", "inference-free", "--output", str(first)])
    named = ["--sparse-searcher", "impact", "--sparse-encoder", "bm25-impact"]
    search([*given, *named, "--output", str(second)])
    assert first.read_text() == second.read_text()
    assert Run.read(first)["q"][0].docid == "1"


def test_no_model_is_loaded(built):
    code = (
        "import sys, pyserini_ext as px\n"
        f"px.InferenceFreeSearcher({str(built)!r}).search('wave')\n"
        "assert not {'torch', 'transformers', 'pyserini'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- .about ----------------------------------------------------------------------------------------


def about(file, **queries):
    said = {"format": FORMAT, "tokenizer": "t", "queries": queries}
    file.with_name(f"{file.name}.about").write_text(json.dumps(said))


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "v"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.jsonl").write_text(
            json.dumps({"id": name, "vector": {"x": 1, name: 1}}) + "\n"
        )
    return folder


def test_a_models_table_is_taken_over_and_another_refused(files, tmp_path):
    encoder = {"name": "some/model", "options": {"tf": True}}
    about(files / "a.jsonl", encoder=encoder, idf={"x": 2.0, "a": 0.5})
    build_impact_index(files, tmp_path / "i", mode="premultiplied", scale=10, progress=False)
    weights = {"encode": lambda self, query: dict.fromkeys(query.split(), 1.0)}
    searcher = ImpactSearcher(tmp_path / "i", type("Words", (), weights)())
    assert searcher.document_vectors(["a", "b"]) == [{"x": 20, "a": 5}, {"x": 20}]
    assert (searcher.info["encoder"], searcher.info["tokenizer"]) == (encoder, "t")
    assert (searcher.info["idf"], searcher.idf) == ("given", {"x": 2.0, "a": 0.5})
    build_impact_index(files, tmp_path / "j", idf={"a": 0.5, "x": 2.0}, progress=False)
    build_impact_index(files, tmp_path / "k", idf="none", progress=False)
    assert ImpactSearcher(tmp_path / "k", type("Words", (), weights)()).info["idf"] is None
    with pytest.raises(InputError, match=r"idf is a table, but the model .* another table"):
        build_impact_index(files, tmp_path / "l", idf={"x": 2.0}, progress=False)
    with pytest.raises(InputError, match=r"'u', but the .about file .* says 't'"):
        index(["--corpus", str(files), "--output", str(tmp_path / "l"), "--tokenizer", "u"])
    assert not (tmp_path / "l").exists()


def test_files_that_contradict_each_other_are_refused(files, tmp_path):
    about(files / "a.jsonl", idf="collection")
    about(files / "b.jsonl", idf="collection")
    build_impact_index(files, tmp_path / "i", progress=False)
    about(files / "b.jsonl", idf=None)
    with pytest.raises(InputError, match=r"b\.jsonl\.about names another idf"):
        build_impact_index(files, tmp_path / "j", progress=False)


@pytest.mark.parametrize("text", ["{}", '{"format": "another"}', "[1]"])
def test_what_is_not_ours_says_nothing(files, tmp_path, text):
    (files / "a.jsonl.about").write_text(text)
    build_impact_index(files, tmp_path / "i", progress=False)
    with pytest.raises(InputError, match="premultiplied needs idf"):
        build_impact_index(files, tmp_path / "j", mode="premultiplied", progress=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "cannot be read as JSON"), (None, "the idf of 'x' is -1")],
)
def test_a_damaged_about_is_named(files, tmp_path, text, message):
    about(files / "a.jsonl", idf={"x": -1})
    if text:
        (files / "a.jsonl.about").write_text(text)
    with pytest.raises(InputError, match=rf"a\.jsonl\.about.*{message}"):
        build_impact_index(files, tmp_path / "i", progress=False)
