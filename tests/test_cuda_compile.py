"""Every CUDA kernel compiles for every architecture, without spills, within its registers.

The registers decide how many threads a multiprocessor holds, and with them how many loads are under
way: 64 are 1024 threads, 48 are 1280, of 2048 at most.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import nvrtc
import pytest

from pyserini_ext.rescore import cuda_source

ARCHITECTURES = (80, 86, 89, 90, 120)

REGISTERS = {
    "gather_float32": 52,
    "gather_float16": 64,
    "gather_int8": 64,
    "gather_binary": 64,
    "grouped_float32": 64,
    "grouped_float16": 56,
    "grouped_int8": 72,
    "feedback": 56,
    "maxsim_staged": 76,
    "maxsim_direct": 64,
    "topk": 40,
}
"""The most that kernels whose names begin so may use."""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the test dependency nvidia-cuda-nvrtc is for Linux only"
)


@pytest.fixture(scope="module")
def logs():
    """Messages by file and architecture; two compilers at a time."""
    jobs = [(family, arch) for family in cuda_source.KERNELS for arch in ARCHITECTURES]

    def compiled(job):
        family, arch = job
        options = (*cuda_source.OPTIONS, f"-arch=sm_{arch}", "-Xptxas=-v")
        return nvrtc.compile_log(cuda_source.text(family), options)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(jobs, pool.map(compiled, jobs), strict=True))


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("family", cuda_source.KERNELS)
def test_compiles_without_spills_within_its_registers(logs, family, arch):
    worked, log = logs[family, arch]
    assert worked, log
    used = nvrtc.used(log)
    assert set(used) == set(cuda_source.KERNELS[family])
    for kernel, of in used.items():
        (most,) = [value for prefix, value in REGISTERS.items() if kernel.startswith(prefix)]
        assert of.spilled == 0, f"{kernel} spills {of.spilled} bytes"
        assert of.registers <= most, f"{kernel} uses {of.registers} registers"
        assert of.shared <= 48 << 10, f"{kernel} declares {of.shared} bytes of shared memory"


def test_every_file_of_kernels_is_known():
    assert {file.stem for file in cuda_source.folder().glob("*.cu")} == set(cuda_source.KERNELS)


def test_the_gate_sees_spills_and_errors():
    loads = "".join(f"float a{i} = p[{i}];\n" for i in range(64))
    stores = "".join(f"p[{i} * n] = a{i} * a{63 - i};\n" for i in range(64))
    head = 'extern "C" __global__ void __launch_bounds__(1024, 2) k(float* p, int n)'
    text = f"{head} {{\n{loads}__syncthreads();\n{stores}}}\n"
    worked, log = nvrtc.compile_log(text, ("-arch=sm_90", "-Xptxas=-v"))
    assert worked
    assert nvrtc.used(log)["k"].spilled > 0
    worked, log = nvrtc.compile_log("__global__ void k() { nothing(); }", ("-arch=sm_90",))
    assert not worked
    assert "nothing" in log
