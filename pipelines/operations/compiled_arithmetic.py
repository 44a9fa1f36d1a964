"""Arithmetic for compiled kernels that LLVM has an instruction for and Python has no word for.

Written out in Python, LLVM's vectorizer finds half of these, and which half depends on what stands around them. Each
of these is one vector instruction where the processor has it, and the same numbers where it hasn't. Imports numba:
import this module inside functions or beside kernels only.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.extending import intrinsic

Generated = tuple[Any, Any]
_HALF, _WORD = ir.IntType(16), ir.IntType(32)


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
