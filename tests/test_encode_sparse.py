"""The command from a collection to sparse vectors, and sparse encoders as plugins."""

import gzip
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import transformers

from pyserini_ext import plugins
from pyserini_ext.collection import open_collection
from pyserini_ext.encode import sparse
from pyserini_ext.encode.bm25_impact import BM25Impact
from pyserini_ext.encode.sparse_document import ACTIVATIONS, SparseDocumentEncoder
from pyserini_ext.encode.sparse_encoder import SparseEncoder, make_sparse_encoder
from pyserini_ext.encode.vector_file import VectorFileWriter
from pyserini_ext.errors import InputError

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [
    f"{piece}{letter}" for letter in LETTERS for piece in ("", "##")
]
DOCUMENTS = [
    {"id": f"d{number}", "title": title, "text": text}
    for number, (title, text) in enumerate(
        [
            ("ab", "cd ab"),
            ("", "e"),
            ("f", ""),
            ("", "東"),
            ("g", "gh gg"),
            ("a", "b é c"),
            ("", "a a"),
        ]
    )
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny OpenSearch doc-only model: a masked language model and idf.json."""
    folder = tmp_path_factory.mktemp("models") / "doc-only"
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=40,
    )
    transformers.set_seed(0)
    transformers.BertForMaskedLM(config).save_pretrained(folder)
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    transformers.BertTokenizerFast(vocab=vocabulary, model_max_length=40).save_pretrained(folder)
    (folder / "idf.json").write_text(json.dumps(dict.fromkeys(WORDS[5:], 1.5)))
    return folder


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
    return path


def run(corpus, output, *more, encoder="bm25-impact"):
    return sparse.main(
        [
            "--corpus",
            str(corpus),
            "--encoder",
            str(encoder),
            "--output",
            str(output),
            *map(str, more),
        ]
    )


def read(path):
    data = path.read_bytes()
    lines = (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()
    return [json.loads(line) for line in lines]


def rounded(vector):
    """Weights with the digits of float32."""
    return {token: float(str(np.float32(weight))) for token, weight in vector.items()}


def test_file_holds_what_the_encoder_gives(corpus, tmp_path, minilm_path, capsys):
    output = tmp_path / "vectors" / "all.jsonl"
    assert run(corpus, output, "--idf", tmp_path / "idf.json", "--encoder-arg", "k1=1.2") == 0
    encoder = BM25Impact(minilm_path, k1=1.2)
    documents = list(open_collection(corpus))
    encoder.prepare(f"{d.title} {d.text}".strip() for d in documents)
    vectors = encoder.encode_documents([d.text for d in documents], [d.title for d in documents])
    assert read(output) == [
        {"id": d.docid, "contents": d.contents, "vector": rounded(vector)}
        for d, vector in zip(documents, vectors, strict=True)
    ]
    assert json.loads((tmp_path / "idf.json").read_text()) == encoder.idf
    about = json.loads((tmp_path / "vectors" / "all.jsonl.about").read_text())
    assert about["tokenizer"] == encoder.tokenizer_name
    assert about["count"] == len(documents)
    assert f"average_length={encoder.average_length}" in about["encoder"]
    assert about["request"]["options"] == {"k1": 1.2}
    assert encoder.tokenizer_name in capsys.readouterr().out
    assert {path.name for path in output.parent.iterdir()} == {"all.jsonl", "all.jsonl.about"}


def test_model_is_used_as_the_options_say(corpus, tmp_path, model):
    output = tmp_path / "v.jsonl.gz"
    options = ["--top-n", 4, "--activation", "log1p-log1p", "--max-length", 6, "--no-contents"]
    run(corpus, output, *options, encoder=model)
    encoder = SparseDocumentEncoder(model, top_n=4, activation="log1p-log1p", document_max_length=6)
    documents = list(open_collection(corpus))
    vectors = encoder.encode_documents([d.text for d in documents], [d.title for d in documents])
    assert read(output) == [
        {"id": d.docid, "vector": rounded(vector)}
        for d, vector in zip(documents, vectors, strict=True)
    ]
    assert all(len(vector) == 4 for vector in vectors)


def test_about_says_how_to_encode_queries(corpus, tmp_path, model, monkeypatch):
    monkeypatch.chdir(model.parent)
    run(corpus, tmp_path / "v.jsonl", "--top-n", 4, "--device", "cpu", encoder=model.name)
    said = json.loads((tmp_path / "v.jsonl.about").read_text())["queries"]
    # A path, because an index may be searched from another folder; no device, which is its own.
    assert said["encoder"] == {"name": str(model), "options": {"top_n": 4}}
    assert said["idf"] == dict.fromkeys(WORDS[5:], 1.5)
    weights = tmp_path / "w.json"
    weights.write_text('{"a": 2}')
    for number, (given, idf) in enumerate([("ones", None), (str(weights), {"a": 2.0})]):
        output = tmp_path / f"{number}.jsonl"
        run(corpus, output, "--encoder-arg", f"weights={given}", encoder=model.name)
        assert json.loads((tmp_path / f"{output.name}.about").read_text())["queries"]["idf"] == idf


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
@pytest.mark.parametrize("torn", [False, True])
def test_interrupted_run_goes_on(corpus, tmp_path, monkeypatch, capsys, suffix, torn):
    monkeypatch.setattr(sparse, "CHUNK", 2)
    whole, output = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    run(corpus, whole, "--idf", tmp_path / "whole.idf")
    encode, calls = BM25Impact.encode_documents, []

    def stop(self, texts, titles=None):
        calls.append(texts)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(self, texts, titles)

    with monkeypatch.context() as patch:
        patch.setattr(BM25Impact, "encode_documents", stop)
        assert run(corpus, output, "--idf", tmp_path / "idf.json") == 130
    assert "4 of 7 documents" in capsys.readouterr().err
    assert not output.exists()
    part = tmp_path / f"out{suffix}.part"
    if torn:
        with part.open("ab") as file:
            file.write(b'{"id": "d4", "vec')
    with pytest.raises(InputError, match="unfinished work of another command"):
        run(corpus, output, "--encoder-arg", "b=0.5")
    assert run(corpus, output, "--idf", tmp_path / "idf.json") == 0
    assert "going on behind 4 of 7" in capsys.readouterr().err
    assert output.read_bytes() == whole.read_bytes()
    assert (tmp_path / "idf.json").read_text() == (tmp_path / "whole.idf").read_text()
    assert not part.exists()


def test_overwrite_begins_anew(corpus, tmp_path):
    output = tmp_path / "v.jsonl"
    run(corpus, output)
    before = output.read_text()
    with pytest.raises(InputError, match="exists already"):
        run(corpus, output)
    run(corpus, output, "--overwrite", "--encoder-arg", "k1=2")
    assert output.read_text() != before
    assert len(read(output)) == len(DOCUMENTS)


def test_shards_make_up_the_collection(corpus, tmp_path):
    more = ("--shard-num", 2, "--encoder-arg", "average_length=3", "--encoder-arg", "prepared=1")
    with pytest.raises(InputError, match="has no option 'prepared'"):
        run(corpus, tmp_path / "no.jsonl", *more)
    for shard in (0, 1):
        run(corpus, tmp_path / f"{shard}.jsonl", "--shard-id", shard, "--shard-num", 2)
    docids = [row["id"] for shard in (0, 1) for row in read(tmp_path / f"{shard}.jsonl")]
    assert docids == [document["id"] for document in DOCUMENTS]


def test_given_average_length_is_kept(corpus, tmp_path):
    lengths = ("--encoder-arg", "average_length=30")
    run(corpus, tmp_path / "all.jsonl", *lengths)
    for shard in (0, 1):
        run(corpus, tmp_path / f"{shard}.jsonl", "--shard-id", shard, "--shard-num", 2, *lengths)
    parts = [row for shard in (0, 1) for row in read(tmp_path / f"{shard}.jsonl")]
    assert parts == read(tmp_path / "all.jsonl")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--output", "v.txt"], "must end in"),
        (["--threads", "0"], "--threads is 0"),
        (["--encoder", "bm25-impect"], "did you mean 'bm25-impact'"),
        (["--top-n", "3"], "has no option 'top_n'"),
        (["--checkpoint", "x", "--encoder-arg", "checkpoint=y"], "checkpoint is given twice"),
        (["--checkpoint", "./nothing"], "no such checkpoint folder"),
        (["--corpus", "nothing.jsonl"], "no such file"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(corpus, tmp_path, monkeypatch, more, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        run(corpus, "v.jsonl", *more)
    assert {path.name for path in tmp_path.iterdir()} == {"corpus.jsonl"}


def test_docid_that_comes_twice_is_found_first(tmp_path):
    path = tmp_path / "twice.jsonl"
    path.write_text('{"id": "a", "contents": "x"}\n' * 2)
    with pytest.raises(InputError, match="twice"):
        run(path, tmp_path / "v.jsonl")


def test_weight_that_no_index_can_hold_is_refused(tmp_path):
    for weight in (-1.0, float("nan"), float("inf")):
        writer = VectorFileWriter(tmp_path / "v.jsonl", {}, overwrite=True)
        with pytest.raises(InputError, match="the vector of d has a weight"):
            writer.append(["d"], None, [{"a": weight}])
        writer.close()


def test_full_disk_leaves_what_was_safe(tmp_path, monkeypatch):
    writer = VectorFileWriter(tmp_path / "v.jsonl", {})
    writer.append(["d"], None, [{"a": 1.0}])

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(InputError, match="No space left on device"):
            writer.append(["e"], None, [{"a": 1.0}])
    writer.close()
    again = VectorFileWriter(tmp_path / "v.jsonl", {})
    assert again.count == 1
    again.append(["e"], ["text"], [{"b": 0.1}])
    again.finish({})
    assert read(tmp_path / "v.jsonl") == [
        {"id": "d", "vector": {"a": 1.0}},
        {"id": "e", "contents": "text", "vector": {"b": 0.1}},
    ]


# -- plugins ---------------------------------------------------------------------------------------


def test_published_models_are_registered():
    names = plugins.names("sparse-encoder")
    assert {"opensearch-doc-v3-distill", "splade-v3-doc", "bm25-impact"} <= set(names)
    for name in names:
        preset = plugins.load("sparse-encoder", name)
        assert getattr(preset, "activation", "log1p") in ACTIVATIONS


def test_preset_loads_another_copy_as_it_says(model):
    v1, v3, ones = (
        plugins.create("sparse-encoder", name, checkpoint=model)
        for name in ("opensearch-doc-v2-mini", "opensearch-doc-v3-distill", "splade-v3-doc")
    )
    assert v1.encode("ab c") == {"a": 1.5, "##b": 1.5, "c": 1.5}
    assert ones.encode("ab c") == {"a": 1.0, "##b": 1.0, "c": 1.0}
    assert ones.idf_sha256 is None
    (once,), (twice,) = (encoder.encode_documents(["ab"]) for encoder in (v1, v3))
    for token, weight in once.items():
        assert twice[token] == pytest.approx(np.log1p(weight), rel=1e-5)
    assert v1.tokenizer_name == v3.queries.tokenizer_name


@pytest.mark.parametrize("side", ["encode", "encode_documents"])
def test_preset_that_is_not_here_says_so(side, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    name = "opensearch-neural-sparse-encoding-doc-v2-mini is no folder here"
    with pytest.raises(InputError, match=name):
        getattr(make_sparse_encoder("opensearch-doc-v2-mini"), side)("a")


def test_folder_is_an_encoder(model, tmp_path):
    encoder = make_sparse_encoder(model, missing=1.0)
    assert isinstance(encoder, SparseEncoder)
    assert encoder.encode_batch(["a", "b"]) == [{"a": 1.5}, {"b": 1.5}]
    shutil.copytree(model, tmp_path / "bare")
    (tmp_path / "bare" / "idf.json").unlink()
    bare = make_sparse_encoder(tmp_path / "bare")
    assert bare.encode_documents(["a"]) == encoder.encode_documents(["a"])
    assert bare.tokenizer_name == encoder.tokenizer_name
    with pytest.raises(InputError, match="no table of token weights"):
        bare.encode("a")


def test_searching_and_help_import_no_torch(model):
    code = (
        "import sys\n"
        "from pyserini_ext.encode.sparse_encoder import make_sparse_encoder\n"
        f"assert make_sparse_encoder({str(model)!r}).encode('a')\n"
        "from pyserini_ext.encode import sparse\n"
        "try: sparse.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'transformers', 'pyserini', 'faiss'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
