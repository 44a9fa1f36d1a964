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
