"""Hits: one total order, defined behaviour for ties, duplicates, NaN and nothing at all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyserini_ext.errors import InputError
from pyserini_ext.hits import Hit, Hits


def test_best_score_first_then_docid():
    hits = Hits(["b", "c", "a"], [1.0, 2.0, 1.0])
    assert list(hits) == [Hit("c", 2.0), Hit("a", 1.0), Hit("b", 1.0)]


@given(st.lists(st.tuples(st.text("abc", min_size=1, max_size=3), st.integers(-3, 3)), max_size=40))
def test_order_equals_a_plain_sort_that_keeps_the_best_of_duplicates(pairs):
    best = {}
    for docid, score in pairs:
        best[docid] = max(score, best.get(docid, score))
    expected = sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))
    hits = Hits([d for d, _ in pairs], [float(s) for _, s in pairs])
    assert [(h.docid, h.score) for h in hits] == expected


def test_docids_order_by_code_point_as_lucene_orders_them():
    docids = ["é", "z", "Z", "10", "9", "\U0001f600", "\uffee"]
    assert [h.docid for h in Hits(docids, np.zeros(7))] == sorted(docids, key=str.encode)


def test_float32_is_kept_and_everything_else_becomes_float64():
    assert Hits(["a"], np.ones(1, np.float32)).scores.dtype == np.float32
    assert Hits(["a"], np.ones(1, np.float16)).scores.dtype == np.float64
    assert Hits(["a"], [1]).scores.dtype == np.float64


def test_nan_is_refused_with_the_docid():
    with pytest.raises(InputError, match="document 'b' is NaN"):
        Hits(["a", "b"], [1.0, np.nan])


def test_infinite_scores_have_a_place():
    assert [h.docid for h in Hits("abc", [-np.inf, np.inf, 0.0])] == ["b", "c", "a"]


def test_lengths_must_agree():
    with pytest.raises(InputError, match="2 docids but scores of shape"):
        Hits(["a", "b"], [1.0])


def test_nothing_is_a_list_too():
    hits = Hits([], [])
    assert len(hits) == 0
    assert list(hits) == []
    assert hits.head(3) == hits


def test_slices_heads_and_exclusions_are_hits():
    hits = Hits("abcd", [4.0, 3.0, 2.0, 1.0])
    assert hits.head(2) == hits[:2] == Hits("ab", [4.0, 3.0])
    assert hits.without("bd") == Hits("ac", [4.0, 2.0])
    assert hits[-1] == Hit("d", 1.0)
    assert hits.as_dict() == {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0}


def test_pyserini_hits_convert():
    found = Hits.from_pyserini([Hit(" a ", 0.25), Hit("b", 0.5)])
    assert found == Hits(["b", "a"], np.array([0.5, 0.25], np.float32))
    assert Hits.from_pyserini(found) is found


def test_a_ranked_list_keeps_the_order_it_came_in():
    assert [h.docid for h in Hits(["b", "a"], [1.0, 1.0], ranked=True)] == ["b", "a"]
