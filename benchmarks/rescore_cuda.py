"""Rescoring on a GPU: time and bandwidth of the kernels, beside torch and the measured read rate.

    python benchmarks/rescore_cuda.py --output benchmarks/results/rescore-gpu.json

Times are those of CUDA events around launches whose inputs lie on the GPU. Each repeat takes other
candidates, so that no cache holds their rows from the time before.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timing
from common import markdown

from pyserini_ext.command import run_command
from pyserini_ext.errors import InputError
from pyserini_ext.files import write_json
from pyserini_ext.rescore import (
    cuda_grouped,
    cuda_launch,
    cuda_maxsim,
    cuda_plan,
    cuda_topk,
)
from pyserini_ext.rescore.cuda import CudaBackend
from pyserini_ext.rescore.cuda_device import CudaDevice
from pyserini_ext.rescore.cuda_launch import NULL
from pyserini_ext.rescore.cuda_rows import row_stride
from pyserini_ext.rescore.rows import Candidates, StoredRows

DTYPES = {"float32": 4, "float16": 2, "int8": 1, "binary": 0.125}

READ = r"""
extern "C" __global__ void read_all(const uint4* data, long long count, unsigned* out) {
    unsigned sum = 0;
    long long step = (long long)gridDim.x * blockDim.x;
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    for (; i + 3 * step < count; i += 4 * step) {
        uint4 a = __ldg(data + i), b = __ldg(data + i + step);
        uint4 c = __ldg(data + i + 2 * step), d = __ldg(data + i + 3 * step);
        sum ^= a.x ^ a.y ^ a.z ^ a.w ^ b.x ^ b.y ^ b.z ^ b.w;
        sum ^= c.x ^ c.y ^ c.z ^ c.w ^ d.x ^ d.y ^ d.z ^ d.w;
    }
    if (sum == 0x12345678u) *out = sum;
}
"""


def seconds(function: Callable[[int], Any], repeats: int) -> list[float]:
    """Time `function(repeat)` on the GPU, after three turns to warm up."""
    import cupy

    found = []
    for repeat in range(-3, repeats):
        start, stop = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        function(repeat)
        stop.record()
        stop.synchronize()
        if repeat >= 0:
            found.append(cupy.cuda.get_elapsed_time(start, stop) / 1000)
    return found


def summary(times: list[float], size: float | None = None) -> dict[str, Any]:
    """Return median, least and most in microseconds, and GB/s of `size` bytes at the median."""
    median = statistics.median(times)
    found = {"us": round(median * 1e6, 1), "min": round(min(times) * 1e6, 1)}
    found |= {"max": round(max(times) * 1e6, 1), "repeats": len(times)}
    return found if size is None else {**found, "gb_per_s": round(size / median / 1e9, 1)}


def read_rate(repeats: int, size: int) -> dict[str, Any]:
    """Measure how fast memory can be read and nothing else be done."""
    import cupy

    data, out = cupy.zeros(size // 16 * 4, np.uint32), cupy.zeros(1, np.uint32)
    kernel = cupy.RawKernel(READ, "read_all")
    blocks = cupy.cuda.Device().attributes["MultiProcessorCount"] * 16
    arguments = (data, np.int64(size // 16), out)
    return summary(seconds(lambda _: kernel((blocks,), (256,), arguments), repeats), size)


def make_rows(dtype: str, count: int, dimension: int, rng: np.random.Generator) -> StoredRows:
    """Make rows of random content, from a block that is repeated: their addresses differ."""
    stride = -(-int(dimension * DTYPES[dtype]) // 32) * 32
    block = rng.standard_normal((4096, dimension), dtype=np.float32)
    made = {
        "float32": lambda: block,
        "float16": lambda: block.astype(np.float16),
        "int8": lambda: (block * 30).clip(-127, 127).astype(np.int8),
        "binary": lambda: np.packbits(block >= 0, axis=1),
    }[dtype]()
    padded = np.zeros((4096, stride // made.itemsize), dtype=made.dtype)
    padded[:, : made.shape[1]] = made
    data = np.tile(padded, (-(-count // 4096), 1))[:count]
    scales = np.full(count, 1 / 30, dtype=np.float32) if dtype == "int8" else None
    return StoredRows(data, dtype, dimension, scales)


def measure(dtype: str, options: argparse.Namespace, rng: np.random.Generator) -> dict[str, Any]:
    """Measure one kind of rows."""
    device = CudaDevice()
    rows = make_rows(dtype, options.rows, options.dimension, rng)
    queries = rng.standard_normal((options.queries, options.dimension), dtype=np.float32)
    offsets = np.arange(options.queries + 1, dtype=np.int64) * options.candidates
    sets = [
        rng.integers(0, options.rows, offsets[-1]).astype(np.int32) for _ in range(options.sets)
    ]
    stored = device.put_rows(rows, row_stride(rows))
    on_device = [device.put(each) for each in sets]
    vectors, lists = device.put(queries), device.put(offsets)
    scores = device.empty(len(sets[0]), np.float32)
    tiles = cuda_plan.tiles(offsets, cuda_plan.tile_size(len(sets[0]), device.multiprocessors))
    launches = [
        cuda_launch.gather(device, vectors, NULL, rows, stored, wanted, lists, tiles, "ip", scores)
        for wanted in on_device
    ]
    steps = cuda_topk.Steps(device, scores, offsets, options.k)

    def both(repeat: int) -> None:
        device.launch(launches[repeat % options.sets])
        steps.launch()

    size = len(sets[0]) * cuda_plan.row_bytes(rows)
    score_only = seconds(lambda r: device.launch(launches[r % options.sets]), options.repeats)
    found = {
        "score": summary(score_only, size),
        "score_topk": summary(seconds(both, options.repeats)),
    }
    backend = CudaBackend(on=device)
    found["whole_call"] = summary(
        seconds(
            lambda r: backend.best(
                queries, Candidates(sets[r % options.sets], offsets), rows, "ip", options.k
            ),
            options.repeats,
        )
    )
    if dtype in ("float32", "float16"):
        found["torch"] = with_torch(rows, queries, sets, options)
    return found


def measure_shared(options: argparse.Namespace, rng: np.random.Generator) -> dict[str, Any]:
    """Measure candidates from so few rows that queries share them: pair by pair, and grouped."""
    device = CudaDevice()
    rows = make_rows("float32", options.rows, options.dimension, rng)
    queries = rng.standard_normal((options.queries, options.dimension), dtype=np.float32)
    offsets = np.arange(options.queries + 1, dtype=np.int64) * options.candidates
    pool = rng.choice(options.rows, max(1, options.candidates * 2), replace=False)
    wanted_here = rng.choice(pool, offsets[-1]).astype(np.int32)
    stored = device.put_rows(rows, row_stride(rows))
    vectors, lists, wanted = (device.put(each) for each in (queries, offsets, wanted_here))
    scores = device.empty(len(wanted_here), np.float32)
    tiles = cuda_plan.tiles(offsets, cuda_plan.tile_size(len(wanted_here), device.multiprocessors))
    pairwise = cuda_launch.gather(
        device, vectors, NULL, rows, stored, wanted, lists, tiles, "ip", scores
    )

    def plan(_: int) -> tuple[cuda_grouped.Groups, int]:
        return cuda_grouped.group(device, wanted, lists, options.queries, rows)

    grouped = cuda_grouped.launch(device, vectors, NULL, rows, stored, *plan(0), "ip", scores)
    return {
        "candidates_per_row": cuda_grouped.sharing(Candidates(wanted_here, offsets)),
        "pair_by_pair": summary(seconds(lambda _: device.launch(pairwise), options.repeats)),
        "grouped": summary(seconds(lambda _: device.launch(grouped), options.repeats)),
        "grouping": summary(seconds(plan, options.repeats)),
    }


def measure_maxsim(options: argparse.Namespace, rng: np.random.Generator) -> dict[str, Any]:
    """Measure MaxSim of 32 query tokens and ragged documents of 60 to 300 tokens, dimension 128."""
    device = CudaDevice()
    lengths = rng.integers(60, 300, 20_000)
    bounds = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    rows = make_rows("float16", int(bounds[-1]), 128, rng)
    queries = cuda_maxsim.packed(rng.standard_normal((options.queries, 32, 128)))
    offsets = np.arange(options.queries + 1, dtype=np.int64) * options.candidates
    wanted = rng.integers(0, len(lengths), offsets[-1]).astype(np.int32)
    stored = device.put_rows(rows, row_stride(rows))
    scores = device.empty(len(wanted), np.float32)
    launch = cuda_maxsim.launch(
        *(device, queries, None, Candidates(wanted, offsets), stored),
        *(128, bounds, None, scores),
    )
    size = int(lengths[wanted].sum()) * 256
    return summary(seconds(lambda _: device.launch(launch), options.repeats), size)


def with_torch(
    rows: StoredRows, queries: np.ndarray, sets: list[np.ndarray], options: argparse.Namespace
) -> dict[str, Any] | str:
    """Measure gather, bmm and topk of torch."""
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    if not torch.cuda.is_available():
        return "this torch has no CUDA"
    matrix = torch.from_numpy(rows.data[:, : options.dimension]).cuda()
    vectors = torch.from_numpy(queries).cuda().to(matrix.dtype).unsqueeze(2)
    wanted = [torch.from_numpy(each.astype(np.int64)).cuda() for each in sets]
    shape = (options.queries, options.candidates, options.dimension)

    def once(repeat: int) -> None:
        gathered = matrix[wanted[repeat % options.sets]].view(shape)
        torch.topk(torch.bmm(gathered, vectors).squeeze(2), options.k)

    torch.cuda.synchronize()
    found = []
    for repeat in range(-3, options.repeats):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        once(repeat)
        stop.record()
        stop.synchronize()
        if repeat >= 0:
            found.append(start.elapsed_time(stop) / 1000)
    return summary(found)


def render(results: dict[str, Any]) -> str:
    """Return the table of a measurement."""
    ceiling = results["read"]["gb_per_s"]
    lines = []
    for dtype, found in results["dtypes"].items():
        score, both, torch = found["score"], found["score_topk"], found.get("torch", "")
        share = f"{score['gb_per_s']:.0f} ({score['gb_per_s'] / ceiling:.0%})"
        peer = f"{torch['us']:.0f}" if isinstance(torch, dict) else torch
        lines.append([dtype, f"{score['us']:.0f}", share, f"{both['us']:.0f}", peer])
    heads = ["rows", "score, µs", "GB/s (of read rate)", "score + top-k, µs", "torch, µs"]
    shared, late = results["shared"], results["maxsim"]
    return (
        f"{markdown(heads, lines)}\n\n"
        f"{shared['candidates_per_row']:.1f} candidates a row: "
        f"{shared['pair_by_pair']['us']:.0f} µs pair by pair, {shared['grouped']['us']:.0f} µs "
        f"grouped, after {shared['grouping']['us']:.0f} µs to group them\n"
        f"MaxSim: {late['us']:.0f} µs, {late['gb_per_s']:.0f} GB/s "
        f"({late['gb_per_s'] / ceiling:.0%} of the read rate)"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the measurements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=768)
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--candidates", type=int, default=1000, help="of each query")
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--sets", type=int, default=8, help="candidate lists taken in turns")
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--output", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    if reason := CudaDevice.unavailable():
        raise InputError(reason)
    import cupy

    rng = np.random.default_rng(0)
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    results = {
        **timing.describe(),
        "gpu": properties["name"].decode(),
        "cupy": cupy.__version__,
        "driver": cupy.cuda.runtime.driverGetVersion(),
        "work": {name: getattr(options, name) for name in ("rows", "dimension", "queries")}
        | {"candidates": options.candidates, "k": options.k},
        "read": read_rate(options.repeats, 4 << 30),
        "dtypes": {dtype: measure(dtype, options, rng) for dtype in DTYPES},
        "shared": measure_shared(options, rng),
        "maxsim": measure_maxsim(options, rng),
    }
    print(f"{results['gpu']}: reads {results['read']['gb_per_s']} GB/s\n\n{render(results)}")
    if options.output:
        write_json(options.output, results)
    return 0


if __name__ == "__main__":
    run_command(main)
