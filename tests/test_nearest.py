"""The nearest stored rows, against all distances in float64."""

import numpy as np
import pytest

from pyserini_ext.errors import InputError
from pyserini_ext.rescore import nearest
from pyserini_ext.rescore.nearest import nearest_rows
from pyserini_ext.rescore.quantise import quantise


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(("block", "group"), [(1, 1), (600, 3), (32 << 20, 2048)])
def test_the_nearest_by_all_distances(monkeypatch, dtype, block, group):
    monkeypatch.setattr(nearest, "BLOCK_BYTES", block)
    monkeypatch.setattr(nearest, "GROUP", group)
    rng = np.random.default_rng(0)
    # Lengths differ: the nearest is not the one of the highest product.
    matrix = rng.standard_normal((70, 9)) * rng.uniform(0.2, 3, (70, 1))
    rows = quantise(matrix, dtype)
    vectors = rng.standard_normal((7, 9)).astype(np.float32)
    stored = rows.data[:, :9].astype(np.float64)
    distances = ((vectors[:, None].astype(np.float64) - stored[None]) ** 2).sum(axis=2)
    wanted = np.argsort(distances, axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(nearest_rows(vectors, rows, 10), wanted)


def test_of_equal_distances_the_lower_row():
    rows = quantise(np.array([[1, 0], [-1, 0], [0, 1], [2, 2]]), "float16")
    assert nearest_rows(np.zeros((1, 2), np.float32), rows, 3).tolist() == [[0, 1, 2]]


def test_fewer_rows_and_no_vectors():
    rows = quantise(np.eye(2), "float16")
    assert nearest_rows(np.ones((1, 2), np.float32), rows, 9).tolist() == [[0, 1]]
    assert nearest_rows(np.empty((0, 2), np.float32), rows, 9).shape == (0, 2)
    none = quantise(np.empty((0, 2)), "float16")
    assert nearest_rows(np.ones((1, 2), np.float32), none, 9).shape == (1, 0)


def test_what_does_not_fit():
    with pytest.raises(InputError, match="dimension 3"):
        nearest_rows(np.ones((1, 3), np.float32), quantise(np.eye(2), "float16"), 1)
    with pytest.raises(InputError, match="int8"):
        nearest_rows(np.ones((1, 2), np.float32), quantise(np.eye(2), "int8"), 1)
