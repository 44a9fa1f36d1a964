"""Counting the processor's instructions with valgrind's callgrind, from within the process that is counted.

A program under valgrind talks to it by a sequence of instructions that does nothing elsewhere (valgrind.h, "client
requests"); so what is counted begins and ends at a line of Python, and the start of the interpreter isn't part of it.
x86-64 and Linux only.
"""

from __future__ import annotations

import ctypes
import mmap
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_CODE = bytes.fromhex(
    "4889f8"  # mov rax, rdi: where code and arguments of the request lie
    "31d2"  # xor edx, edx: the answer, unless there is valgrind
    "48c1c703 48c1c70d 48c1c73d 48c1c733"  # rol rdi, 3 + 13 + 61 + 51: it is as it was
    "4887db"  # xchg rbx, rbx
    "4889d0"  # mov rax, rdx
    "c3"  # ret
)
_RUNNING_ON_VALGRIND = 0x1001
_ZERO, _DUMP_AT, _START, _STOP = (0x43540000 + number for number in (1, 3, 4, 5))  # 'C', 'T': callgrind.h
_NAME = re.compile(r"^desc: Trigger: Client Request: (.*)$", re.MULTILINE)
_SUM = re.compile(r"^(?:summary|totals): (\d+)$", re.MULTILINE)


class Callgrind:
    """The switch of the counter."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._page.write(_CODE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        self._ask = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)(address)

    @property
    def is_there(self) -> bool:
        """Whether this process runs under valgrind."""
        return self._request(_RUNNING_ON_VALGRIND) > 0

    def count(self, name: str, run: Callable[[], object]) -> None:
        """Count a call; the number goes to callgrind's output under this name."""
        self._request(_START)
        self._request(_ZERO)
        run()
        self._request(_STOP)
        text = ctypes.create_string_buffer(name.encode())
        self._request(_DUMP_AT, ctypes.addressof(text))

    def _request(self, code: int, argument: int = 0) -> int:
        request = (ctypes.c_ulong * 6)(code, argument)
        return int(self._ask(ctypes.addressof(request)))


def counted(module: str, arguments: Sequence[str], *, scratch: Path, environment: Mapping[str, str]) -> dict[str, int]:
    """Run a module of Python under callgrind; the instructions of each call that it counted, by name."""
    out = scratch / "callgrind"
    command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
    done = subprocess.run(
        [*command, sys.executable, "-m", module, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module} under valgrind ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    texts = [path.read_text(encoding="utf-8") for path in scratch.glob(f"{out.name}.*")]
    return {name[1]: int(_SUM.findall(text)[-1]) for text in texts if (name := _NAME.search(text))}


def valgrind_version() -> str | None:
    """As ``valgrind-3.19.0``; None when it isn't installed."""
    if shutil.which("valgrind") is None:
        return None
    return subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True).stdout.strip()
