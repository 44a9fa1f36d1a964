"""Output names: harmless on every file system, mostly readable, and different for different inputs."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipelines.stages.output_names import (
    MAX_COMPONENT_BYTES,
    NamePattern,
    NameSource,
    collision_key,
    output_name,
    renamed,
)

paths = st.lists(
    st.binary(min_size=1, max_size=30).filter(lambda part: not set(part) & set(b"\0/") and part not in (b".", b"..")),
    min_size=1,
    max_size=4,
).map(b"/".join)


def name_of(relative: bytes, pattern: str = "{stem}", layout: str = "mirror", index: int = 7) -> str:
    source = NameSource(relative=relative, index=index, job="look", width=640, height=480)
    return output_name(NamePattern.parse(pattern), source, layout=layout)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("relative", "pattern", "layout", "expected"),
    [
        (b"a/b/x.jpg", "{stem}", "mirror", "a/b/x"),
        (b"a/b/x.jpg", "{stem}", "flat", "x"),
        (b"a/b/x.jpg", "{index:04d}-{stem}", "flat", "0007-x"),
        (b"a/b/x.jpg", "{job}/{stem}_{width}x{height}", "flat", "look/x_640x480"),
        (b"a/b/x.jpg", "{relpath}", "flat", "a/b/x"),
        (b"x.tar.gz", "{stem}.{ext}", "mirror", "x.tar.gz"),
        (b".hidden", "{stem}", "mirror", ".hidden"),
        ("夕焼け.jpg".encode(), "{stem}", "mirror", "夕焼け"),
    ],
)
def test_patterns_and_layouts(relative: bytes, pattern: str, layout: str, expected: str) -> None:
    assert name_of(relative, pattern, layout) == expected


@pytest.mark.parametrize("raw", [b"CON.png", b"aux.x.png", b"a?b.png", b"two\nlines.png", b"end. .png", b"-rf.png"])
def test_what_some_file_system_refuses_becomes_harmless_and_keeps_a_hash(raw: bytes) -> None:
    made = name_of(raw)
    assert made != raw.decode().rpartition(".")[0]
    assert not set(made) & set('<>:"\\|?*\n')
    assert not made.startswith("-")


@given(paths, st.sampled_from(["{stem}", "{relpath}", "{stem}.{ext}", "x{index}"]), st.sampled_from(["mirror", "flat"]))
def test_every_name_stays_below_the_output_and_fits_every_file_system(raw: bytes, pattern: str, layout: str) -> None:
    made = name_of(raw, pattern, layout)
    parts = made.split("/")
    assert made
    assert not made.startswith("/")
    for part in parts:
        assert part not in ("", ".", "..")
        assert len(part.encode()) <= MAX_COMPONENT_BYTES
        assert not any(ord(character) < 32 for character in part)
        assert not part.endswith((" ", "."))


@given(paths, paths)
def test_inputs_whose_names_lose_something_stay_apart(one: bytes, other: bytes) -> None:
    stem = b"{relpath}"
    assume(one.rpartition(b".")[0] or one != (other.rpartition(b".")[0] or other))
    a, b = name_of(one + b".p", stem.decode()), name_of(other + b".p", stem.decode())
    if one != other:
        readable = [raw.decode("utf-8", "replace") for raw in (one, other)]
        assert a != b or collision_key(readable[0]) == collision_key(readable[1]) or a == b == readable[0]


def test_names_that_are_one_file_somewhere_have_one_key() -> None:
    assert collision_key("Photo") == collision_key("pHOTO")
    assert collision_key("caf\u00e9") == collision_key("cafe\u0301")
    assert collision_key("a") != collision_key("b")
    assert renamed("a/x", 2) == "a/x-2"
