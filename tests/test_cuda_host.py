"""What is computed on the CPU for a GPU: cuts, groups, weights, and why there may be no GPU."""

import re
import sys
from itertools import pairwise
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import cuda_cases as cases
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyserini_ext.errors import InputError
from pyserini_ext.rescore import cuda_device, cuda_grouped, cuda_plan, cuda_source, cuda_topk
from pyserini_ext.rescore.cuda import CudaBackend
from pyserini_ext.rescore.cuda_rows import row_stride
from pyserini_ext.rescore.rows import Candidates, StoredRows
from pyserini_ext.rescore.scoring import make_backend

LENGTHS = st.lists(st.integers(0, 700), max_size=12)


def offsets_of(lengths):
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


@given(LENGTHS, st.sampled_from([1, 32, 256]))
def test_tiles_cover_every_candidate_once(lengths, size):
    offsets = offsets_of(lengths)
    tiles = cuda_plan.tiles(offsets, size)
    found = [
        (query, place)
        for query, first in zip(tiles.query.tolist(), tiles.first.tolist(), strict=True)
        for place in range(first, min(first + size, offsets[query + 1]))
    ]
    expected = [(i, p) for i, (a, b) in enumerate(pairwise(offsets)) for p in range(a, b)]
    assert found == expected


@given(LENGTHS, st.integers(1, 50), st.integers(0, 9))
def test_blocks_hold_every_candidate_once_and_no_more_rows_than_fit(lengths, most, seed):
    candidates = cases.lists(lengths, 60, np.random.default_rng(seed))
    owner, found = cases.owners(candidates), []
    for block in cuda_plan.blocks(candidates, most):
        assert len(block.stored) <= most
        rows = block.stored[block.candidates.rows]
        np.testing.assert_array_equal(rows, candidates.rows[block.pairs])
        np.testing.assert_array_equal(cases.owners(block.candidates), owner[block.pairs])
        found.extend(block.pairs)
    assert sorted(found) == list(range(len(candidates.rows)))


@given(st.lists(st.integers(0, 40000), max_size=5), st.sampled_from([1, 100, 10**6]))
def test_rounds_merge_each_long_list_into_one_run(lengths, k):
    offsets = offsets_of(lengths)
    long = [(a, b) for a, b in pairwise(offsets.tolist()) if b - a > cuda_topk.LARGEST_SORT]
    runs = {(s, min(s + 4096, b)) for a, b in long for s in range(a, b, 4096)}
    for each in cuda_topk.rounds(offsets, k):
        merged = set()
        for begin, middle, end in zip(each.begin, each.middle, each.end, strict=True):
            merged |= {(begin, middle)} | ({(middle, end)} if middle < end else set())
        assert merged == runs
        runs = set(zip(each.begin.tolist(), each.end.tolist(), strict=True))
    assert runs == set(long)


def test_few_candidates_are_spread_over_the_machine():
    assert cuda_plan.tile_size(10, 132) == 32
    assert cuda_plan.tile_size(7_000_000, 132) == 256
    assert cuda_plan.tile_size(132 * 8 * 100, 132) == 96


@given(LENGTHS.filter(any), st.integers(0, 9))
def test_groups_hold_every_candidate_under_its_row_and_tile(lengths, seed):
    device = SimpleNamespace(xp=np, shared_bytes=99 << 10, multiprocessors=1, get=np.asarray)
    candidates = cases.lists(lengths, 60, np.random.default_rng(seed))
    rows = StoredRows(np.zeros((60, 768), dtype=np.float16), "float16", 768)
    groups, tile = cuda_grouped.group(
        device, candidates.rows, candidates.offsets, len(lengths), rows
    )
    assert sorted(groups.place) == list(range(len(candidates.rows)))
    np.testing.assert_array_equal(cases.owners(candidates)[groups.place], groups.query)
    group = np.repeat(np.arange(len(groups.rows)), np.diff(groups.begin))
    np.testing.assert_array_equal(candidates.rows[groups.place], groups.rows[group])
    seen = []
    for query, first, last in zip(*groups[4:], strict=True):
        own = groups.query[groups.begin[first] : groups.begin[last]]
        assert ((own >= query) & (own < query + tile)).all()
        assert len(set(groups.rows[first:last])) == last - first
        seen.extend(range(first, last))
    assert seen == list(range(len(groups.rows)))


def test_grouping_is_for_many_candidates_that_are_shared():
    many = np.arange(1 << 20, dtype=np.int32)
    one_list = np.array([0, len(many)])
    shared = Candidates(many % 8192, np.arange(0, len(many) + 1, 8192))
    wide = StoredRows(np.zeros((1 << 20, 1), dtype=np.float32), "float32", 768)
    assert cuda_grouped.sharing(shared) == 8
    assert cuda_grouped.pays(shared, wide)
    assert not cuda_grouped.pays(Candidates(many, one_list), wide)
    assert not cuda_grouped.pays(Candidates(many[:8], np.array([0, 4, 8])), wide)
    assert not cuda_grouped.pays(shared, StoredRows(wide.data, "int8", 768))


def test_kernels_are_one_text_each_without_includes():
    for family, names in cuda_source.KERNELS.items():
        text = cuda_source.text(family)
        assert "#include" not in text.replace('#include "shim.h"', "")
        assert text.count("enum Metric") == 1
        assert all(cuda_source.family_of(name) == family for name in names)


def test_sources_are_found_in_a_wheel_and_missed_where_they_are_not(tmp_path, monkeypatch):
    package = tmp_path / "pyserini_ext"
    monkeypatch.setattr(cuda_source, "__file__", str(package / "rescore" / "cuda_source.py"))
    with pytest.raises(InputError, match="CUDA sources of pyserini-ext are missing"):
        cuda_source.folder()
    (package / "_cuda").mkdir(parents=True)
    (package / "_cuda" / "common.cuh").touch()
    assert cuda_source.folder() == package / "_cuda"


def test_constants_are_those_of_the_kernels():
    def defined(family, name):
        return int(re.search(rf"#define {name} (\d+)", cuda_source.text(family))[1])

    assert defined("gather_dot", "LARGEST_TILE") == cuda_plan.LARGEST_TILE
    assert defined("topk", "LARGEST_SORT") == cuda_topk.LARGEST_SORT
    assert defined("topk", "THREADS") == cuda_topk.THREADS
    assert defined("grouped", "TILE") == cuda_grouped.TILE


@pytest.fixture
def cupy(monkeypatch):
    """A CuPy that counts no devices."""
    module, cuda = ModuleType("cupy"), ModuleType("cupy.cuda")
    module.cuda, cuda.runtime = cuda, SimpleNamespace(getDeviceCount=lambda: 0)
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setitem(sys.modules, "cupy.cuda", cuda)
    cuda_device._unavailable.cache_clear()
    yield module
    cuda_device._unavailable.cache_clear()


def test_no_cupy_is_told(cupy, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setitem(sys.modules, "cupy.cuda", None)
    assert "pip install 'pyserini-ext[cuda13]'" in CudaBackend.unavailable()
    with pytest.raises(InputError, match="CuPy cannot be imported"):
        make_backend(device="cuda")
    assert make_backend().name != "cuda"


def test_no_driver_is_told(cupy):
    def fail():
        raise RuntimeError("cudaErrorInsufficientDriver: too old")

    cupy.cuda.runtime.getDeviceCount = fail
    reason = CudaBackend.unavailable()
    assert "cudaErrorInsufficientDriver" in reason
    assert "\n" not in reason


def test_no_such_device_is_told(cupy):
    assert CudaBackend.unavailable() == "no CUDA device is visible; see nvidia-smi"
    cupy.cuda.runtime.getDeviceCount = lambda: 2
    cuda_device._unavailable.cache_clear()
    with pytest.raises(InputError, match="no device cuda:2; there are cuda:0 to cuda:1"):
        CudaBackend("cuda:2")
    with pytest.raises(InputError, match="choose cuda or cuda:N"):
        CudaBackend("gpu")


class OnDevice(np.ndarray):
    """An array that is filled as CuPy's are."""

    def set(self, array, stream):
        assert stream == "stream"
        assert array.flags.c_contiguous
        self[...] = array


@pytest.fixture
def gpu(cupy, monkeypatch):
    """A `CudaDevice` whose CuPy is NumPy: only what copies rows to it is there."""
    events = []

    class Event:
        def __init__(self, disable_timing):
            events.append(self)

        def record(self):
            self.recorded = True

        def synchronize(self):
            pass

    class Device:
        attributes: ClassVar = {"MultiProcessorCount": 3, "MaxSharedMemoryPerBlockOptin": 99 << 10}

        def __init__(self, number):
            self.number = number

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    cupy.asarray = np.array
    cupy.empty = lambda shape, dtype: np.full(shape, 77, dtype=dtype).view(OnDevice)
    cupy.cuda.Device, cupy.cuda.Event = Device, Event
    cupy.cuda.alloc_pinned_memory = bytearray
    cupy.cuda.get_current_stream = lambda: "stream"
    cupy.cuda.memory = SimpleNamespace(OutOfMemoryError=MemoryError)
    monkeypatch.setattr(cuda_device, "STAGING", 300)
    device = cuda_device.CudaDevice(1)
    device.events = events
    return device


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("dimension", [3, 16, 50])
@pytest.mark.parametrize("pad", [0, 64])
def test_rows_arrive_whole_through_small_buffers(gpu, dtype, dimension, pad):
    rng = np.random.default_rng(0)
    rows = cases.stored(dtype, 40, dimension, rng, pad)
    stride = row_stride(rows)
    assert stride % 16 == 0
    used = rows.data.view(np.uint8).reshape(40, -1)[:, : cuda_plan.row_bytes(rows)]
    for chosen in (None, rng.integers(0, 40, 25), np.arange(0)):
        found = gpu.put_rows(rows, stride, chosen)
        expected = used if chosen is None else used[chosen]
        own = min(used.shape[1], stride)
        np.testing.assert_array_equal(found.data[:, :own], expected[:, :own])
        assert not found.data[:, own : cuda_plan.row_bytes(rows)].any()
        if dtype == "int8":
            scales = rows.scales if chosen is None else rows.scales[chosen]
            np.testing.assert_array_equal(found.scales, scales)
    assert len(gpu.events) == 2


def test_a_full_gpu_is_told(gpu):
    def fail(*_):
        raise MemoryError("out of memory allocating 12 bytes")

    gpu._cupy.empty = fail
    with pytest.raises(InputError, match=r"memory of the GPU is full.*12 bytes.*device cpu"):
        gpu.empty(3, np.float32)
