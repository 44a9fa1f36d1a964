"""The order of inputs where they are numbered: that of the patterns, then natural order or that of a list."""

from __future__ import annotations

import os
from functools import cmp_to_key
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.ledger.staged_inputs import FoundInput
from rayjobs.inputs.input_order import natural_key
from tests.searches import find, touch


def in_order(found: list[FoundInput]) -> list[bytes]:
    assert len({entry.order for entry in found}) == len(found)
    return [entry.relative for entry in sorted(found, key=lambda entry: entry.order)]


def test_inputs_are_in_natural_order_within_the_order_of_the_patterns(tmp_path: Path) -> None:
    touch(tmp_path, b"b/img10.jpg", b"b/img2.jpg", b"b/Img1.jpg", b"b/img2/x.jpg", b"a/z.jpg", b"y.jpg", b"x.jpg")
    (tmp_path / "list.txt").write_bytes(b"y.jpg\nx.jpg\ngone.jpg\na/z.jpg\n")
    found = find(tmp_path, "b", "@list.txt", "a", "x.jpg")
    assert in_order(found) == [
        *[b"Img1.jpg", b"img2/x.jpg", b"img2.jpg", b"img10.jpg"],
        *[b"y.jpg", b"x.jpg", b"gone.jpg", b"a/z.jpg"],
        *[b"z.jpg", b"x.jpg"],
    ]


def test_rows_of_left_out_inputs_have_their_place_in_the_order(tmp_path: Path) -> None:
    touch(tmp_path, b"1.jpg", b"2.jpg", b"3.jpg")
    os.mkfifo(tmp_path / "2b.jpg")
    assert in_order(find(tmp_path, ".", exclude=("2.jpg",))) == [b"1.jpg", b"2.jpg", b"2b.jpg", b"3.jpg"]


PARTS = st.one_of(st.text("abAB .-_/\u00e4\u00df\u017f", max_size=3), st.integers(0, 10**12).map(str))
NAMES = st.lists(PARTS, max_size=6).map("".join)


@settings(max_examples=300)
@given(first=NAMES, second=NAMES)
def test_natural_keys_are_total_and_blind_to_case(first: str, second: str) -> None:
    one, two = natural_key(first.encode()), natural_key(second.encode())
    assert (one == two) == (first == second)
    if tokens(first.encode())[0] != tokens(second.encode())[0]:
        other_case = natural_key(first.casefold().encode())
        assert (one < two) == (other_case < two)


@settings(max_examples=300)
@given(
    prefix=st.text("abc/-", max_size=4),
    first=st.integers(0, 10**600),
    second=st.integers(0, 10**600),
    zeros=st.integers(0, 3),
    suffix=st.text("abc.", max_size=4),
)
def test_natural_keys_agree_with_exact_numbers(prefix: str, first: int, second: int, zeros: int, suffix: str) -> None:
    one = natural_key(f"{prefix}{'0' * zeros}{first}{suffix}".encode())
    two = natural_key(f"{prefix}{second}{suffix}".encode())
    if first != second:
        assert (one < two) == (first < second)


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=12).filter(lambda name: b"\0" not in name), max_size=8, unique=True))
def test_natural_keys_of_any_bytes_differ_and_compare_as_their_parts(paths: list[bytes]) -> None:
    def compared(first: bytes, second: bytes) -> int:
        one, two = tokens(first), tokens(second)
        return (one > two) - (one < two)

    assert sorted(paths, key=natural_key) == sorted(paths, key=cmp_to_key(compared))


def tokens(path: bytes) -> tuple[list[tuple[int, int, bytes]], bytes]:
    """Slow, and in other words: (byte, number, text) of each character or number, then the exact bytes."""
    text = path.decode("utf-8", "surrogateescape").casefold().encode("utf-8", "surrogateescape")
    found: list[tuple[int, int, bytes]] = []
    digits = b""
    for place in range(len(text) + 1):
        byte = text[place : place + 1]
        if byte.isdigit():
            digits += byte
            continue
        if digits:
            found.append((ord("0"), int(digits), b""))
            digits = b""
        if byte:
            found.append((1 if byte == b"/" else byte[0], 0, byte if byte not in b"/\1" else b""))
    return found, path
