"""PRF query encoders against their formulas in transformers and against Pyserini's classes."""

import json

import numpy as np
import pytest
import torch
import transformers
from prf_checkpoints import (
    BYTES,
    TRANSFORMERS,
    ance_formula,
    pyserinis_ance,
    save_ance,
    save_wordpiece,
)

from pyserini_ext.encode.ance_prf import AncePRF
from pyserini_ext.encode.prf_input import FAMILIES, PrfInput, write_settings
from pyserini_ext.errors import InputError
from pyserini_ext.hits import Hits
from pyserini_ext.jvm import pyserini_import

TEXTS = {
    "d1": "light travels as a wave",
    "d2": "sound is a wave of pressure " * 12,
    "d3": "the moon",
    "d4": "a violin has four strings " * 12,
    "caps": "The Moon Σ and NASA\nof 1969",
    "none": None,
    "blank": " \n",
}
QUERIES = ["what is a wave", "", "strings of an instrument", "moon"]
LISTS = [["d1", "d2", "d3"], ["d3", "d4", "d2"], ["d4", "d2", "d1"], ["d3"]]


def source(docids):
    return [TEXTS.get(docid) for docid in docids]


def hits(lists):
    return [Hits(own, np.arange(len(own), 0, -1, dtype=np.float32)) for own in lists]


def refined(method, queries=QUERIES, lists=LISTS, texts=source):
    vectors = np.zeros((len(queries), method.encoder.dimension), np.float32)
    return method.refine(queries, vectors, hits(lists), None, texts)


@pytest.fixture(scope="module")
def ance(tmp_path_factory):
    return save_ance(tmp_path_factory.mktemp("checkpoints") / "ance")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_wordpiece(tmp_path_factory.mktemp("checkpoints") / "bert")


def composed(query, docids, cls="<s>", sep="</s>"):
    return cls + sep.join([query, *(TEXTS[docid] for docid in docids)]) + sep


# The text that is encoded


def tokens(method, query, documents):
    """Ids as the model gets them."""
    encoder, given = method.encoder, []
    forward = encoder._forward

    def record(ids, mask):
        given.append(ids[mask.astype(bool)].tolist())
        return forward(ids, mask)

    encoder._forward = record
    encoder.encode_feedback([query], [documents])
    del encoder._forward
    return given[0]


def byte_ids(text):
    return [4 + BYTES.index("Ġ" if letter == " " else letter) for letter in text]


def test_tokens_of_ance_are_those_worked_out_by_hand(ance):
    method = AncePRF(ance, k=2)
    ids = tokens(method, "a b", ["c", "d e"])
    assert ids == [0, *byte_ids("a b"), 2, *byte_ids("c"), 2, *byte_ids("d e"), 2]


def test_what_is_too_long_is_cut_off_with_the_last_special_token(ance):
    method = AncePRF(ance, k=2)
    ids = tokens(method, "a", ["b" * 300, "c" * 300])
    assert ids == [0, *byte_ids("a"), 2, *byte_ids("b" * 300), 2, *byte_ids("c" * 208)]
    assert len(ids) == 512
    short = AncePRF(ance, k=2, max_length=6)
    assert tokens(short, "a", ["b", "cc"]) == [
        0,
        *byte_ids("a"),
        2,
        *byte_ids("b"),
        2,
        *byte_ids("c"),
    ]


def test_tokens_of_tct_colbert_are_filled_with_masks_to_512(bert):
    method = AncePRF(bert, k=2, family="tct-colbert-v2")
    ids = tokens(method, "a b", ["c", "d"])
    tokenizer = transformers.BertTokenizerFast.from_pretrained(bert)
    words = tokenizer.convert_ids_to_tokens(ids)
    assert words[:9] == ["[CLS]", "[", "q", "]", "a", "b", "[SEP]", "c", "[SEP]"]
    assert words[9:] == ["d", *["[MASK]"] * 502]


def test_ance_lower_cases_letter_by_letter_as_the_slow_tokenizer_did(ance):
    method = AncePRF(ance, k=1)
    text = method.encoder.texts(["NASA ΟΔΟΣ"], [["The\nİ"]])
    assert text == ["<s>nasa οδοσ</s>the\ni̇</s>"]
    kept = AncePRF(ance, k=1, lowercase=False).encoder.texts(["NASA"], [["The"]])
    assert kept == ["<s>NASA</s>The</s>"]


def test_braces_and_tokens_within_texts_stay_what_they_are(ance):
    text = AncePRF(ance, k=1).encoder.texts(["{documents} {x}"], [["{query} \\1"]])
    assert text == ["<s>{documents} {x}</s>{query} \\1</s>"]


def test_templates_of_other_encoders(bert):
    method = AncePRF(
        bert,
        k=2,
        family="bi-encoder",
        pooling="mean",
        normalise=True,
        template="query: {query} feedback: {documents}",
        document="passage: {text}",
        separator=" | ",
    )
    assert method.encoder.texts(["a"], [["b", "c"]]) == [
        "query: a feedback: passage: b | passage: c"
    ]
    # No special token is written, so the tokenizer adds its own.
    ids = tokens(method, "a", ["b", "c"])
    assert (ids[0], ids[-1], ids.count(3)) == (2, 3, 1)  # [CLS], [SEP], and one of them
    np.testing.assert_allclose(np.linalg.norm(refined(method), axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"template": "{query}"}, "must name {documents} once"),
        ({"template": "{query}{documents}{text}"}, "has {text}; known are {query}"),
        ({"document": "passage"}, "must name {text} once"),
        ({"separator": "{query}"}, "has {query}"),
        ({"max_length": 0}, "max_length is 0"),
        ({"template": "{query}{documents}{eos}"}, "no such token"),
        ({"missing_text": "ignore"}, "choose one of error, skip, empty"),
        ({"family": "roberta"}, "choose one of ance, tas-b"),
        ({"k": 0}, "at least 1"),
        ({"depth": 2}, "trained with 3 feedback documents"),
        ({"max_length": 513}, "512 positions"),
        ({"pooling": "max"}, "unknown pooling"),
    ],
)
def test_wrong_options_are_refused(bert, options, message):
    options = {"k": 3, "family": "tas-b", **options}
    with pytest.raises(InputError, match=message):
        refined(AncePRF(bert, **options))


# Vectors


@pytest.mark.parametrize(("safe", "prefix"), [(False, ""), (True, ""), (False, "ance_encoder.")])
def test_ance_is_its_formula_from_every_layout(ance, tmp_path, safe, prefix):
    folder = save_ance(tmp_path / "ance", safe, prefix)
    found = refined(AncePRF(folder, k=3))
    expected = [ance_formula(ance, composed(q, own)) for q, own in zip(QUERIES, LISTS, strict=True)]
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_ance_loads_with_the_files_that_transformers_2_wrote(ance, tmp_path):
    folder = save_ance(tmp_path / "old")
    config = json.loads((folder / "config.json").read_text())
    for name in ("model_type", "transformers_version", "dtype", "torch_dtype"):
        config.pop(name, None)
    config |= {"finetuning_task": "MSMarco", "num_labels": 2, "output_past": True}
    config |= {"pruned_heads": {}, "torchscript": False, "use_bfloat16": False}
    config |= {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "is_decoder": False}
    (folder / "config.json").write_text(json.dumps(config))
    settings = {"do_lower_case": True, "max_len": 512, "init_inputs": []}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    special = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    np.testing.assert_allclose(
        refined(AncePRF(folder, k=3)), refined(AncePRF(ance, k=3)), atol=1e-5
    )


def test_ance_loads_as_tevatron_saves_it(ance, tmp_path):
    folder = save_ance(tmp_path / "tevatron", extra=False)
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    head = {name: tensor for name, tensor in weights.items() if not name.startswith("roberta.")}
    body = {name.removeprefix("roberta."): weights[name] for name in weights.keys() - head.keys()}
    torch.save(body, folder / "pytorch_model.bin")
    torch.save(head, folder / "pooler.pt")
    np.testing.assert_allclose(
        refined(AncePRF(folder, k=3)), refined(AncePRF(ance, k=3)), atol=1e-5
    )


def test_weights_that_would_run_code_are_refused(tmp_path):
    folder = save_ance(tmp_path / "ance")
    torch.save({"roberta": torch.nn.Linear(1, 1)}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="could run code"):
        AncePRF(folder, k=3)


def test_another_model_is_no_ance(bert):
    with pytest.raises(InputError, match="not an ANCE checkpoint"):
        AncePRF(bert, k=3)


def test_distilbert_is_its_first_token(tmp_path):
    folder = save_wordpiece(tmp_path / "tas-b", "distilbert")
    found = refined(AncePRF(folder, k=3, family="tas-b"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.DistilBertModel.from_pretrained(folder).eval()
    for vector, query, own in zip(found, QUERIES, LISTS, strict=True):
        inputs = tokenizer(
            composed(query, own, "[CLS]", "[SEP]"),
            truncation=True,
            max_length=512,
            add_special_tokens=False,
            return_tensors="pt",
        )
        with torch.no_grad():
            expected = model(inputs["input_ids"]).last_hidden_state[0, 0]
        np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_tct_colbert_is_the_mean_behind_the_fourth_token(bert):
    found = refined(AncePRF(bert, k=3, family="tct-colbert-v2"))
    tokenizer = transformers.BertTokenizerFast.from_pretrained(bert)
    model = transformers.BertModel.from_pretrained(bert).eval()
    for vector, query, own in zip(found, QUERIES, LISTS, strict=True):
        joined = "[SEP]".join([query, *(TEXTS[docid] for docid in own)])
        inputs = tokenizer(
            "[CLS] [Q] " + joined + "[MASK]" * 512,
            truncation=True,
            max_length=512,
            add_special_tokens=False,
            return_tensors="pt",
        )
        with torch.no_grad():
            expected = model(inputs["input_ids"]).last_hidden_state[0, 4:].mean(0)
        np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_sentence_transformers_settings_serve_a_bi_encoder(minilm_path):
    method = AncePRF(minilm_path, k=3, family="bi-encoder")
    encoder = method.encoder
    assert (encoder.pooling, encoder.normalise, encoder.max_length) == ("mean", True, 512)
    assert refined(method).shape == (4, 384)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_equals_one_by_one(ance, bert, family):
    options = {"pooling": "mean"} if family == "bi-encoder" else {}
    method = AncePRF(ance if family == "ance" else bert, k=3, family=family, **options)
    together = refined(method)
    for row in range(len(QUERIES)):
        alone = refined(method, QUERIES[row : row + 1], LISTS[row : row + 1])
        np.testing.assert_allclose(together[row], alone[0], atol=1e-5)


class Stored:
    """What Pyserini's class asks its searcher for."""

    def doc(self, docid):
        return self if TEXTS[docid] is None else Raw(TEXTS[docid])


class Raw:
    def __init__(self, text):
        self.text = text

    def raw(self):
        return json.dumps({"contents": self.text})


def test_ance_equals_pyserinis_prf_class(ance, monkeypatch):
    encoder = pyserinis_ance(monkeypatch)(str(ance))
    with pyserini_import():
        from pyserini.search.faiss._prf import DenseVectorAncePrf, PrfDenseSearchResult
    theirs = DenseVectorAncePrf(encoder, Stored())
    queries, lists = [*QUERIES, "NASA and the Moon"], [*LISTS, ["caps", "d1"]]
    qids = [str(number) for number in range(len(queries))]
    candidates = {
        qid: [PrfDenseSearchResult(docid, 0.0, []) for docid in own]
        for qid, own in zip(qids, lists, strict=True)
    }
    # With transformers 5 Pyserini's lower-casing has no effect, and nothing says so.
    found = refined(AncePRF(ance, k=3, lowercase=TRANSFORMERS < 5), queries, lists)
    batch = theirs.get_batch_prf_q_emb(queries, qids, candidates)
    np.testing.assert_allclose(found, batch, atol=2e-5)
    for vector, query, qid in zip(found, queries, qids, strict=True):
        single = theirs.get_prf_q_emb(query, candidates[qid])
        np.testing.assert_allclose(vector, single[0], atol=2e-5)


# k


def test_a_recorded_k_is_the_depth(tmp_path):
    folder = save_wordpiece(tmp_path / "trained")
    write_settings(folder, 2, "bi-encoder", pooling="mean", template="{query} {documents}")
    method = AncePRF(folder)
    assert method.depth == 2
    assert method.encoder.texts(["a"], [["b", "c"]]) == ["a b[SEP]c"]
    assert AncePRF(folder, 2, 2, separator=" ").encoder.texts(["a"], [["b", "c"]]) == ["a b c"]
    with pytest.raises(InputError, match=r"depth is 3, but .* with 2 feedback documents"):
        AncePRF(folder, depth=3)
    with pytest.raises(InputError, match=r"k=3, but .* was trained with k=2"):
        AncePRF(folder, k=3)


def test_an_unknown_k_must_be_said(ance):
    with pytest.raises(InputError, match=r"does not record .* k=3 \(--prf-arg k=3\)"):
        AncePRF(ance)
    with pytest.raises(InputError, match="does not record"):
        AncePRF(ance, depth=3)
    assert AncePRF(ance, k=3).depth == 3


def test_a_damaged_record_is_refused(tmp_path):
    folder = save_wordpiece(tmp_path / "trained")
    (folder / "prf.json").write_text('{"k": 3, "docs": 4}')
    with pytest.raises(InputError, match="unknown setting 'docs'; known are k, family"):
        AncePRF(folder)
    (folder / "prf.json").write_text('{"k": "three"}')
    with pytest.raises(InputError, match="k is 'three'"):
        AncePRF(folder)
    (folder / "prf.json").write_text("[3]")
    with pytest.raises(InputError, match="must be a JSON object"):
        AncePRF(folder)
    with pytest.raises(InputError, match="unknown setting 'depht'"):
        write_settings(folder, 3, depht=3)


# Feedback documents


@pytest.mark.parametrize("docid", ["none", "blank", "unknown"])
def test_a_document_without_text(ance, docid):
    lists = [["d1", docid, "d3"], [docid], []]
    queries = ["a", "b", "c"]
    strict = AncePRF(ance, k=3)
    with pytest.raises(
        InputError, match=f"'{docid}' has no text in .*--prf-text.*missing_text=skip"
    ):
        refined(strict, queries, lists)
    skip = refined(AncePRF(ance, k=3, missing_text="skip"), queries, lists)
    np.testing.assert_allclose(skip[0], ance_formula(ance, composed("a", ["d1", "d3"])), atol=2e-5)
    np.testing.assert_array_equal(skip[1:], 0)  # nothing to read: the vector of the last round
    empty = refined(AncePRF(ance, k=3, missing_text="empty"), queries, lists)
    between = f"<s>a</s>{TEXTS['d1']}</s></s>{TEXTS['d3']}</s>"
    np.testing.assert_allclose(empty[0], ance_formula(ance, between), atol=2e-5)
    np.testing.assert_allclose(empty[1], ance_formula(ance, "<s>b</s></s>"), atol=2e-5)
    np.testing.assert_array_equal(empty[2], 0)


def test_texts_are_asked_for_once_a_batch_and_only_to_the_depth(ance):
    calls = []

    def counting(docids):
        calls.append(list(docids))
        return source(docids)

    refined(AncePRF(ance, k=2), texts=counting)
    assert calls == [["d1", "d2", "d3", "d4"]]
    refined(AncePRF(ance, k=2), ["a"], [[]], counting)
    assert len(calls) == 1


def test_what_does_not_fit_is_refused(ance):
    method = AncePRF(ance, k=3)
    with pytest.raises(InputError, match="768 dimensions, but those of the first round have 16"):
        method.refine(QUERIES, np.zeros((4, 16), np.float32), hits(LISTS), None, source)
    with pytest.raises(InputError, match="gave 1 texts for 4 docids"):
        refined(method, texts=lambda docids: ["one"])
    with pytest.raises(InputError, match="got none"):
        method.refine(None, np.zeros((4, 768), np.float32), hits(LISTS), None, source)


def test_the_text_is_the_same_however_it_is_described():
    assert FAMILIES["ance"].input == PrfInput(lowercase=True)
    assert FAMILIES["tct-colbert-v2"].input.special_tokens is False
