"""The CUDA kernels, run on the CPU under sanitizers, give the float64 answers.

What runs is the text of cuda/, launched by the same code as on a GPU; tests/cuda/shim.h says what
this can show and what not.
"""

import pytest
from cuda_emulator import Emulator, build, needs_compiler

from pyserini_ext.rescore import cuda_source
from pyserini_ext.rescore.cuda import CudaBackend

pytest.register_assert_rewrite("cuda_kernel_tests")
from cuda_kernel_tests import *  # noqa: E402, F403


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    needs_compiler()
    return build(cuda_source.KERNELS, tmp_path_factory.mktemp("emulated"))


@pytest.fixture
def device(program):
    emulator = Emulator(program)
    yield emulator
    emulator.close()


@pytest.fixture
def backend(device):
    return CudaBackend(on=device)
