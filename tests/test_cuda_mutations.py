"""Defects put into the CUDA kernels are seen by what test_cuda_emulated.py does."""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import cuda_cases as cases
import numpy as np
import pytest
from cuda_emulator import Emulator, build, needs_compiler

from pyserini_ext.rescore import cuda_source, cuda_topk
from pyserini_ext.rescore.cuda import CudaBackend
from pyserini_ext.rescore.maxsim import TokenRows, maxsim
from pyserini_ext.rescore.rows import Candidates


def scores(emulator):
    rng = np.random.default_rng(1)
    rows = cases.stored("float32", 20, 97, rng)
    candidates = cases.lists([0, 1, 37], 20, rng)
    queries = rng.standard_normal((3, 97)).astype(np.float32)
    found = CudaBackend(on=emulator).score(queries, candidates, rows, "ip")
    cases.assert_scores(found, *cases.answer(queries, candidates, rows, "ip"))


def best(emulator):
    values = np.random.default_rng(1).integers(-500, 500, 5000).astype(np.float32)
    values[:50:2], values[1:50:2] = 0.0, -0.0
    steps = cuda_topk.Steps(emulator, values, np.array([0, 50, 5000]), 60)
    steps.launch()
    found = steps.result()
    np.testing.assert_array_equal(found.positions, cases.ranked(values, [0, 50, 5000], 60))


def late_interaction(emulator):
    rng = np.random.default_rng(1)
    rows = cases.stored("float16", 29, 40, rng)
    documents = TokenRows(rows, np.array([0, 9, 10, 29]))
    candidates = Candidates(np.arange(3, dtype=np.int32), np.array([0, 3]))
    queries = rng.standard_normal((1, 20, 40))
    found = CudaBackend(on=emulator).maxsim(queries, candidates, documents)
    expected = maxsim(queries, candidates, documents, dtype=np.float64)
    cases.assert_scores(found, expected, 1e-3)


def shared(emulator):
    rng = np.random.default_rng(1)
    rows, candidates = cases.stored("float32", 20, 97, rng), cases.lists([9] * 10, 20, rng)
    queries = rng.standard_normal((10, 97)).astype(np.float32)
    found = CudaBackend(on=emulator, grouped=True).score(queries, candidates, rows, "ip")
    cases.assert_scores(found, *cases.answer(queries, candidates, rows, "ip"))


MUTATIONS = {
    "the last 16 bytes of a row are lost": (
        *("gather_dot", scores),
        "(store.dimension + Row::WIDTH - 1) / Row::WIDTH",
        "store.dimension / Row::WIDTH",
    ),
    "a tile reads past its last candidate": (
        *("gather_dot", scores),
        "wanted[min(base + in_group + r, tile.count - 1)]",
        "wanted[base + in_group + r]",
    ),
    "a tile writes past its last candidate": (
        *("gather_dot", scores),
        "if (lane == r && base + in_group + r < tile.count)",
        "if (lane == r)",
    ),
    "the query is read before it is there": ("gather_dot", scores, "__syncthreads();", ""),
    "zero and minus zero differ": ("topk", best, "score + 0.0f", "score"),
    "a merge misses the last key": ("topk", best, "high = on_left ? rights", "high = on_left ? 0"),
    "what is behind the last token counts": (
        *("maxsim", late_interaction),
        "own >= count || (mask && !mask[begin + own])",
        "mask && !mask[begin + own]",
    ),
    "two quarters of a product change places": (
        *("maxsim", late_interaction),
        "{low.x, high.x, low.y, high.y}",
        "{low.x, low.y, high.x, high.y}",
    ),
    "a row is scored for its first query only": (
        *("grouped", shared),
        "pair = begin; pair < end",
        "pair = begin; pair < begin + 1",
    ),
    "a sort stops early": ("topk", best, "step >= 32; step", "step > 32; step"),
}


def mutated(folder, family, old, new):
    """Copy the sources with one change, and with few kernels, so that they compile fast."""
    shutil.copytree(cuda_source.folder(), folder / "cuda")
    file = folder / "cuda" / f"{family}.cu"
    text = file.read_text()
    assert old in text, f"{file.name} has no {old!r} any more: renew this test"
    text = text.replace(old, new)
    file.write_text(re.sub(r"\nKERNELS\((?!float32, Float32(, 32|\))|plain).*", "", text))
    return build([family], folder, folder / "cuda", "float32_ip_32|plain|maxsim|grouped_float32_ip")


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    needs_compiler()
    with ThreadPoolExecutor(2) as pool:
        made = {
            name: pool.submit(mutated, tmp_path_factory.mktemp("mutant"), family, old, new)
            for name, (family, _, old, new) in MUTATIONS.items()
        }
        return {name: each.result() for name, each in made.items()}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_defect_is_seen(programs, name):
    emulator = Emulator(programs[name])
    with pytest.raises(AssertionError):
        MUTATIONS[name][1](emulator)
    emulator.close()
