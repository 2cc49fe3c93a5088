"""The CUDA kernels on a GPU: what holds in the emulation, and work of real size."""

import cuda_cases as cases
import numpy as np
import pytest

from pyserini_ext.rescore.cuda import CudaBackend
from pyserini_ext.rescore.cuda_device import CudaDevice
from pyserini_ext.rescore.numpy_backend import NumpyBackend
from pyserini_ext.rescore.rows import StoredRows

pytest.register_assert_rewrite("cuda_kernel_tests")
from cuda_kernel_tests import *  # noqa: E402, F403

pytestmark = pytest.mark.gpu


class Recorder(CudaDevice):
    """A GPU that waits for each kernel, so that the faulty one is named, and remembers them."""

    def __init__(self):
        super().__init__()
        self.launched = []

    def launch(self, launch):
        self.launched.append(launch.kernel)
        super().launch(launch)
        self.synchronize()


@pytest.fixture
def device():
    if reason := CudaDevice.unavailable():
        pytest.skip(reason)
    return Recorder()


@pytest.fixture
def backend(device):
    return CudaBackend(on=device)


@pytest.fixture(scope="module")
def work():
    """64 queries with 1000 candidates each, ragged, of 20,000 rows of 768 dimensions."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(500, 1500, 64)
    return rng.standard_normal((64, 768)).astype(np.float32), cases.lists(lengths, 20000, rng), rng


@pytest.mark.parametrize(("dtype", "metric"), cases.CELLS)
def test_real_sizes_as_numpy_and_again_the_same_bits(backend, work, dtype, metric):
    queries, candidates, rng = work
    rows = cases.stored(dtype, 20000, 768, rng)
    found = backend.score(queries, candidates, rows, metric)
    again = CudaBackend().score(queries, candidates, rows, metric)
    np.testing.assert_array_equal(found, again)
    expected = NumpyBackend().score(queries, candidates, rows, metric)
    scale = 1 if metric == "cosine" else np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=4e-6 * scale)
    best = backend.best(queries, candidates, rows, metric, 100)
    positions = cases.ranked(found, candidates.offsets, 100)
    np.testing.assert_array_equal(best.positions, positions)


def test_a_store_larger_than_the_memory_given(backend, work):
    queries, candidates, rng = work
    rows = cases.stored("float16", 20000, 768, rng)
    small = CudaBackend(memory=12 << 20)
    found = small.score(queries, candidates, rows, "ip")
    assert not small._rows
    np.testing.assert_array_equal(found, backend.score(queries, candidates, rows, "ip"))


def test_a_mapped_file(backend, tmp_path, rng):
    data = rng.standard_normal((5000, 384)).astype(np.float32)
    data.tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", dtype=np.float32, mode="r", shape=data.shape)
    queries, candidates = data[:3], cases.lists([100, 0, 50], 5000, rng)
    found = backend.score(queries, candidates, StoredRows(mapped, "float32", 384), "l2")
    expected = backend.score(queries, candidates, StoredRows(data, "float32", 384), "l2")
    np.testing.assert_array_equal(found, expected)
