"""NVRTC, the CUDA compiler of its own PyPI package: it needs no GPU, no driver and no toolkit."""

import ctypes
import re
from functools import cache
from importlib import metadata
from typing import NamedTuple


class Used(NamedTuple):
    """What a compiled kernel takes of a multiprocessor."""

    registers: int
    spilled: int  # bytes stored to and loaded from local memory
    shared: int  # bytes, without those of the launch


@cache
def library():
    files = {file.name: file.locate() for file in metadata.files("nvidia-cuda-nvrtc")}
    (name,) = [name for name in files if re.fullmatch(r"libnvrtc\.so\.\d+", name)]
    (builtins,) = [name for name in files if re.fullmatch(r"libnvrtc-builtins\.so[.\d]+", name)]
    ctypes.CDLL(str(files[builtins]), mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(files[name]))


def compile_log(text, options):
    """Compile a text; return whether that worked, and the messages."""
    nvrtc, program = library(), ctypes.c_void_p()
    source = text.encode()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"x.cu", 0, None, None) == 0
    given = [option.encode() for option in options]
    status = nvrtc.nvrtcCompileProgram(program, len(given), (ctypes.c_char_p * len(given))(*given))
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return status == 0, log.value.decode()


def used(log):
    """Return what each kernel uses, from the messages of ``-Xptxas=-v``."""
    kernels = {}
    for part in log.split("Compiling entry function '")[1:]:
        spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", part)
        shared = re.search(r"(\d+) bytes smem", part)
        kernels[part[: part.index("'")]] = Used(
            int(re.search(r"Used (\d+) registers", part)[1]),
            int(spills[1]) + int(spills[2]),
            int(shared[1]) if shared else 0,
        )
    return kernels
