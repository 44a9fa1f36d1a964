"""Arithmetic for compiled kernels that LLVM has an instruction for and Python has no word for.

Written out in Python, LLVM's vectorizer finds half of these, and which half depends on what stands around them. Each
of these is one vector instruction where the processor has it, and the same numbers where it hasn't. Imports numba:
import this module inside functions or beside kernels only.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.extending import intrinsic, models, register_model

Generated = tuple[Any, Any]
LANES = 8
"""Neighbouring float32 that are added to at once."""
_HALF, _WORD = ir.IntType(16), ir.IntType(32)
_LANES = ir.VectorType(ir.FloatType(), LANES)


@intrinsic  # type: ignore[untyped-decorator]
def fused(_: Any, a: Any, b: Any, c: Any) -> Generated:
    """``a * b + c`` of three floats of one type, rounded once (IEEE 754 fusedMultiplyAdd)."""

    def generate(_: Any, builder: ir.IRBuilder, __: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return a(a, a, a), generate


@intrinsic  # type: ignore[untyped-decorator]
def plus_high_product(_: Any, total: Any, a: Any, b: Any) -> Generated:
    """``total + (a * b >> 16)`` of three uint16, kept in 16 bits: it must not exceed 65,535."""

    def generate(_: Any, builder: ir.IRBuilder, __: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_HALF, [_HALF, _HALF, _WORD])
        product = builder.module.declare_intrinsic("llvm.umul.fix", [_HALF], kind)
        return builder.add(arguments[0], builder.call(product, [*arguments[1:], ir.Constant(_WORD, 16)]))

    uint16 = numba.types.uint16
    return uint16(uint16, uint16, uint16), generate


class Lanes(numba.types.Type):  # type: ignore[misc]
    """``LANES`` float32 that are kept in a register: numba's arrays go to memory and back with each sum."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _LANES)


register_model(Lanes)(_LanesModel)


@intrinsic  # type: ignore[untyped-decorator]
def no_lanes(_: Any) -> Generated:
    """Zeros."""
    return Lanes()(), lambda *_: ir.Constant(_LANES, None)


@intrinsic  # type: ignore[untyped-decorator]
def plus_weighted(_: Any, total: Any, weight: Any, samples: Any, place: Any) -> Generated:
    """``total + weight * samples[place : place + LANES]`` of contiguous float32, rounded twice."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        lanes = builder.load(_lanes_at(context, builder, signature.args[2], *arguments[2:]), align=4)
        weights = ir.Constant(_LANES, ir.Undefined)
        for lane in range(LANES):
            weights = builder.insert_element(weights, arguments[1], ir.Constant(_WORD, lane))
        return builder.fadd(arguments[0], builder.fmul(weights, lanes))

    return total(total, numba.types.float32, samples, numba.types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def put_lanes(_: Any, total: Any, samples: Any, place: Any) -> Generated:
    """``samples[place : place + LANES] = total``."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        total, *where = arguments
        builder.store(total, _lanes_at(context, builder, signature.args[1], *where), align=4)
        return context.get_dummy_value()

    return numba.types.void(total, samples, numba.types.intp), generate


def _lanes_at(context: Any, builder: ir.IRBuilder, kind: Any, samples: Any, place: Any) -> Any:
    data = context.make_array(kind)(context, builder, samples).data
    return builder.bitcast(builder.gep(data, [place]), _LANES.as_pointer())


@intrinsic  # type: ignore[untyped-decorator]
def can_look_up_64(_: Any) -> Generated:
    """Whether what is compiled for has ``look_up_64``: a constant, so that the other way costs nothing."""

    def generate(context: Any, *_: Any) -> Any:
        return ir.Constant(ir.IntType(1), int(_has_vbmi(context)))

    return numba.types.boolean(), generate


@intrinsic  # type: ignore[untyped-decorator]
def look_up_64(_: Any, table: Any, samples: Any, place: Any, result: Any) -> Generated:
    """The byte of the table for each of 64 neighbouring bytes, by AVX-512 VBMI; nothing where that isn't there."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        if not _has_vbmi(context):
            return context.get_dummy_value()
        bytes_64 = ir.VectorType(ir.IntType(8), 64)

        def at(number: int, offset: Any) -> Any:
            data = context.make_array(signature.args[number])(context, builder, arguments[number]).data
            return builder.bitcast(builder.gep(data, [offset]), bytes_64.as_pointer())

        parts = [builder.load(at(0, ir.Constant(ir.IntType(64), 64 * part)), align=1) for part in range(4)]
        given = builder.load(at(1, arguments[2]), align=1)
        kind = ir.FunctionType(bytes_64, [bytes_64] * 3)
        chosen = builder.module.declare_intrinsic("llvm.x86.avx512.vpermi2var.qi.512", (), kind)  # by the low 7 bits
        low, high = (builder.call(chosen, [parts[half], given, parts[half + 1]]) for half in (0, 2))
        is_high = builder.icmp_signed("<", given, ir.Constant(bytes_64, None))
        builder.store(builder.select(is_high, high, low), at(3, arguments[2]), align=1)
        return context.get_dummy_value()

    return numba.types.void(table, samples, numba.types.intp, result), generate


def _has_vbmi(context: Any) -> bool:
    return "+avx512vbmi" in context.codegen().magic_tuple()[2].split(",")
