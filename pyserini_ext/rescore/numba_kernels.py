"""The loops of rescoring on the CPU, compiled by numba: imported only where they are used.

What limits them is how many cache lines are on their way at once. Rows lie far apart, so a loop
over one row at a time waits for the memory at each of them; a loop over eight does not.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import config, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LINES_AHEAD = 4
"""Cache lines of each of the next rows that are asked for ahead: 2 to 8 are as good."""

# Sums may be reordered, as vector instructions need, but NaN and infinity stay what they are.
REORDER = {"reassoc", "contract", "nsz"}


def compiled(fastmath: Any = False) -> Callable[[Callable], Callable]:
    """Compile a function when it is first called, and keep it on disk where a folder allows it."""

    def decorate(function: Callable) -> Callable:
        try:
            return njit(nogil=True, fastmath=fastmath, cache=True)(function)
        except RuntimeError:  # neither beside this file nor in the user's cache folder
            return njit(nogil=True, fastmath=fastmath)(function)

    return decorate


def _halves_in_hardware() -> bool:
    if getattr(config, "CPU_NAME", None) or getattr(config, "CPU_FEATURES", None):
        return False
    arm = platform.machine().lower() in ("arm64", "aarch64")
    return arm or binding.get_host_cpu_features().get("f16c", False)


HALVES_IN_HARDWARE = _halves_in_hardware()
"""Without an instruction for it, LLVM would call a function that is not there."""


def _number(context: Any, value: Any) -> Any:
    """Return a stored number as float32; 16 bits without a sign are a float16."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if value != types.uint16:
            return context.cast(builder, arguments[0], value, types.float32)
        if HALVES_IN_HARDWARE:
            return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())
        # Exponent and fraction go to their places in float32, where the exponent is then too small
        # by 112; an exponent of ones alone is that of infinity and NaN in both.
        word = ir.IntType(32)
        bits = builder.zext(arguments[0], word)
        moved = builder.shl(builder.and_(bits, word(0x7FFF)), word(13))
        special = builder.icmp_unsigned(">=", moved, word(0x7C00 << 13))
        moved = builder.or_(moved, builder.select(special, word(0x7F800000), word(0)))
        sign = builder.shl(builder.and_(bits, word(0x8000)), word(16))
        small = builder.bitcast(builder.or_(moved, sign), ir.FloatType())
        return builder.fmul(small, ir.FloatType()(2.0**112))

    return types.float32(value), generate


number: Any = intrinsic(_number)


def _popcount(context: Any, value: Any) -> Any:
    """Return how many bits are set."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.cast(builder, builder.ctpop(arguments[0]), value, types.int64)

    return types.int64(value), generate


popcount: Any = intrinsic(_popcount)


def _ask_for(context: Any, data: Any, row: Any, line: Any) -> Any:
    """Ask the memory for a cache line of a row, without waiting; any address may be asked for."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(data)(context, builder, arguments[0])
        stride = cgutils.unpack_tuple(builder, array.strides)[0]
        word, byte = ir.IntType(64), ir.IntType(8).as_pointer()
        place = builder.add(
            builder.mul(context.cast(builder, arguments[1], row, types.int64), stride),
            builder.mul(context.cast(builder, arguments[2], line, types.int64), word(64)),
        )
        address = builder.inttoptr(builder.add(builder.ptrtoint(array.data, word), place), byte)
        flag = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [address, flag(0), flag(3), flag(1)])  # to read, to keep, data
        return context.get_dummy_value()

    return types.void(data, row, line), generate


ask_for: Any = intrinsic(_ask_for)


# A list that does not fill the last group repeats its last row there: were the rest done by another
# loop, sums would round otherwise, and the score of a row would depend on its place in the list.


@compiled(REORDER)
def products(query: np.ndarray, data: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
    """Put the inner product of a query with each of the rows into `out`."""
    last = len(rows) - 1
    for i in range(0, len(rows), 8):
        # Where a row begins nothing tells the processor in time; the rest of it follows by itself.
        for ahead in range(i + 8, min(i + 16, last + 1)):
            for line in range(LINES_AHEAD):
                ask_for(data, rows[ahead], line)
        i1, i2, i3, i4 = min(i + 1, last), min(i + 2, last), min(i + 3, last), min(i + 4, last)
        i5, i6, i7 = min(i + 5, last), min(i + 6, last), min(i + 7, last)
        a, b, c, d = data[rows[i]], data[rows[i1]], data[rows[i2]], data[rows[i3]]
        e, f, g, h = data[rows[i4]], data[rows[i5]], data[rows[i6]], data[rows[i7]]
        sa = sb = sc = sd = se = sf = sg = sh = np.float32(0)
        for j in range(len(query)):
            q = query[j]
            sa += q * number(a[j])
            sb += q * number(b[j])
            sc += q * number(c[j])
            sd += q * number(d[j])
            se += q * number(e[j])
            sf += q * number(f[j])
            sg += q * number(g[j])
            sh += q * number(h[j])
        out[i], out[i1], out[i2], out[i3] = sa, sb, sc, sd
        out[i4], out[i5], out[i6], out[i7] = se, sf, sg, sh


@compiled(REORDER)
def cosines(query: np.ndarray, data: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
    """Put the cosine between a query and each of the rows into `out`, 0 for a row of zeros."""
    zero, one = np.float32(0), np.float32(1)
    length = zero
    for j in range(len(query)):
        length += query[j] * query[j]
    length = np.sqrt(length)
    last = len(rows) - 1
    for i in range(0, len(rows), 4):
        i1, i2, i3 = min(i + 1, last), min(i + 2, last), min(i + 3, last)
        a, b, c, d = data[rows[i]], data[rows[i1]], data[rows[i2]], data[rows[i3]]
        sa = sb = sc = sd = la = lb = lc = ld = zero
        for j in range(len(query)):
            q = query[j]
            xa, xb, xc, xd = number(a[j]), number(b[j]), number(c[j]), number(d[j])
            sa += q * xa
            sb += q * xb
            sc += q * xc
            sd += q * xd
            la += xa * xa
            lb += xb * xb
            lc += xc * xc
            ld += xd * xd
        for at, product, squares in ((i, sa, la), (i1, sb, lb), (i2, sc, lc), (i3, sd, ld)):
            both = length * np.sqrt(squares)
            out[at] = product / (one if both == zero else both)


@compiled(REORDER)
def distances(
    query: np.ndarray, data: np.ndarray, rows: np.ndarray, scales: np.ndarray, out: np.ndarray
) -> None:
    """Put the negative squared distance of a query to each of the rows into `out`.

    `scales` is empty or has what each number of a row is multiplied by.
    """
    one = np.float32(1)
    scaled = len(scales) > 0
    last = len(rows) - 1
    for i in range(0, len(rows), 4):
        i1, i2, i3 = min(i + 1, last), min(i + 2, last), min(i + 3, last)
        a, b, c, d = data[rows[i]], data[rows[i1]], data[rows[i2]], data[rows[i3]]
        ta = scales[rows[i]] if scaled else one
        tb = scales[rows[i1]] if scaled else one
        tc = scales[rows[i2]] if scaled else one
        td = scales[rows[i3]] if scaled else one
        sa = sb = sc = sd = np.float32(0)
        for j in range(len(query)):
            q = query[j]
            xa, xb = q - ta * number(a[j]), q - tb * number(b[j])
            xc, xd = q - tc * number(c[j]), q - td * number(d[j])
            sa += xa * xa
            sb += xb * xb
            sc += xc * xc
            sd += xd * xd
        out[i], out[i1], out[i2], out[i3] = -sa, -sb, -sc, -sd


@compiled(REORDER)
def score_numbers(
    queries: np.ndarray,
    rows: np.ndarray,
    offsets: np.ndarray,
    data: np.ndarray,
    scales: np.ndarray,
    cosine: bool | None,
    l2: bool | None,
    start: int,
    stop: int,
    out: np.ndarray,
) -> None:
    """Score the candidates `start` to `stop` into the same places of `out`.

    One of `cosine` and `l2` is True or both are None: by the type of None numba knows which of the
    loops it need not compile.
    """
    i = np.searchsorted(offsets, start, side="right") - 1
    while start < stop:
        end = min(stop, offsets[i + 1])
        own = rows[start:end]
        part = out[start:end]
        if cosine is not None:
            cosines(queries[i], data, own, part)
        elif l2 is not None:
            distances(queries[i], data, own, scales, part)
        else:
            products(queries[i], data, own, part)
            if len(scales):
                for j in range(len(own)):
                    part[j] *= scales[own[j]]
        start = end
        i += 1


@compiled()
def score_signs(
    queries: np.ndarray,
    rows: np.ndarray,
    offsets: np.ndarray,
    data: np.ndarray,
    start: int,
    stop: int,
    out: np.ndarray,
) -> None:
    """Count into `out` in how many bits the candidates `start` to `stop` differ from their query.

    `queries` and `data` hold words of bits.
    """
    i = np.searchsorted(offsets, start, side="right") - 1
    while start < stop:
        end = min(stop, offsets[i + 1])
        query = queries[i]
        for at in range(start, end):
            row = data[rows[at]]
            different = 0
            for j in range(len(query)):
                different += popcount(query[j] ^ row[j])
            out[at] = different
        start = end
        i += 1
