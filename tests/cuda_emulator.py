"""Builds the kernels of cuda/ with g++ and runs them on the CPU (tests/cuda/shim.h)."""

import os
import re
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

from pyserini_ext.rescore import cuda_source
from pyserini_ext.rescore.cuda_device import copy_rows
from pyserini_ext.rescore.cuda_launch import NULL, DeviceRows, Launch

SHIM = Path(__file__).parent / "cuda"
COMPILER = os.environ.get("CXX", "g++")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
OPTIONS = ("-std=c++17", "-O1", "-g1", "-DEMULATED", "-ffp-contract=off", "-Wno-unknown-pragmas")


def needs_compiler():
    if not shutil.which(COMPILER):
        pytest.skip(f"no C++ compiler ({COMPILER}) to run the CUDA kernels on the CPU with")


def build(families, folder, sources=None, only=""):
    """Compile the kernels of some files whose names match `only`; return the program."""
    sources = sources or cuda_source.folder()
    lines = ['#include "driver.h"']
    lines += [f'#include "{family}.cu"' for family in families]
    lines += ["int main() { return driver::serve({"]
    for family in families:
        names = [name for name in cuda_source.KERNELS[family] if re.search(only, name)]
        lines += [f'    {{"{name}", driver::call({name})}},' for name in names]
    lines += ["}); }"]
    source, program = Path(folder) / "emulated.cpp", Path(folder) / "emulated"
    source.write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [COMPILER, *OPTIONS, *SANITIZERS, f"-I{SHIM}", f"-I{sources}", source, "-o", program],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return program


class CrashedError(AssertionError):
    """The emulated kernel read or wrote where it must not, or waits for ever."""


class Emulator:
    """A device for the backend: arrays are NumPy's, launches go to the program.

    Attributes
    ----------
    launched : list of str
        The kernels so far.
    """

    multiprocessors = 4
    shared_bytes = 99 << 10
    xp = np

    def __init__(self, program, memory=1 << 40):
        self.program, self.memory = program, memory
        self.process, self.launched = None, []

    def put(self, array):
        return np.array(array)

    def get(self, array):
        return np.array(array)

    def empty(self, shape, dtype):
        # What an array holds before it is written must not matter.
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.full(size, 0xAB, dtype=np.uint8).view(dtype).reshape(shape)

    def put_rows(self, rows, stride, chosen=None):
        data = self.empty((len(rows) if chosen is None else len(chosen)) * stride, np.uint8)
        data = data.reshape(-1, stride)
        copy_rows(rows, slice(None) if chosen is None else chosen, data)
        scales = NULL
        if rows.scales is not None:
            scales = self.put(rows.scales if chosen is None else rows.scales[chosen])
        return DeviceRows(data, scales, stride)

    def launch(self, launch: Launch):
        self.launched.append(launch.kernel)
        if not launch.grid:
            return
        assert launch.shared <= self.shared_bytes
        if self.process is None:
            self._start()
        name = launch.kernel.encode()
        numbers = (launch.grid, launch.block, launch.shared, len(launch.arguments))
        request = [struct.pack("i", len(name)), name, struct.pack("4i", *numbers)]
        for value in launch.arguments:
            null = isinstance(value, np.uint64) and value == 0
            data = b"" if null else value.tobytes()
            request += [struct.pack("q", -1 if null else len(data)), data]
        try:
            self.process.stdin.write(b"".join(request))
            self.process.stdin.flush()
        except BrokenPipeError:
            self._crashed(launch)
        for value in launch.arguments:
            if self._read(1, launch) == b"\1":
                flat = np.frombuffer(self._read(value.nbytes, launch), dtype=value.dtype)
                value[...] = flat.reshape(value.shape)

    def close(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait(10)
            self.process.stdout.close()
            self.errors.close()
            self.process = None

    def _start(self):
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        environment = {
            **os.environ,
            "ASAN_OPTIONS": "detect_stack_use_after_return=0:detect_leaks=0:abort_on_error=0",
        }
        self.process = subprocess.Popen(
            [self.program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=environment,
        )

    def _read(self, count, launch):
        data = self.process.stdout.read(count)
        if len(data) != count:
            self._crashed(launch)
        return data

    def _crashed(self, launch):
        self.process.wait(10)
        self.errors.seek(0)
        message = self.errors.read().decode(errors="replace")[:3000]
        self.process = None
        raise CrashedError(f"{launch.kernel}: {message}")
