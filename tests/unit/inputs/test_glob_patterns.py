"""Patterns of file names against a matcher that tries everything, and bounds that hold for hostile ones."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import JobError
from rayjobs.inputs.glob_patterns import MAX_ALTERNATIVES, MAX_BYTES, Glob, components, is_pattern


def matches(pattern: str | bytes, path: str | bytes) -> bool:
    text, name = (each.encode() if isinstance(each, str) else each for each in (pattern, path))
    return Glob.parse(text).matches(name)


@pytest.mark.parametrize(
    ("pattern", "taken", "left"),
    [
        ("*.jpg", ["a.jpg", ".jpg", ".hidden.jpg"], ["a.jpg.txt", "sub/a.jpg", "ajpg"]),
        ("a?c", ["abc", "aäc", "a\nc"], ["ac", "abbc", "a/c"]),
        ("[abc].png", ["a.png", "c.png"], ["d.png", "ab.png"]),
        ("[a-cx]1", ["a1", "b1", "x1"], ["d1", "-1"]),
        ("[!abc].png", ["d.png", "ä.png"], ["a.png", ".png"]),
        ("[]x]", ["]", "x"], ["[]x]", "y"]),
        ("[!]x]", ["a"], ["]", "x"]),
        ("[a-]", ["a", "-"], ["b"]),
        ("[z-a]", [], ["z", "a", "m"]),
        ("[!z-a]", ["z", "a"], ["", "ab"]),
        ("[", ["["], ["a"]),
        ("[!]", ["[!]"], ["!", "a"]),
        ("[]", ["[]"], ["]"]),
        ("[äö]*", ["ä1", "ö"], ["a"]),
        ("**", ["a", "a/b", "a/b/c.txt"], []),
        ("**/*.tif", ["a.tif", "x/a.tif", "x/y/a.tif"], ["a.tif/b"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "b/a"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["a/xb", "b"]),
        ("a**b", ["ab", "axxb"], ["a/b", "a/x/b"]),
        ("**/**/x", ["x", "a/x", "a/b/x"], ["xa"]),
        ("./a//b", ["a/b"], ["b"]),
        ("*.{jpg,png}", ["a.jpg", "a.png"], ["a.gif", "a.{jpg,png}"]),
        ("{a,b/c}/*.jpg", ["a/1.jpg", "b/c/1.jpg"], ["b/1.jpg", "c/1.jpg"]),
        ("{a,b{1,2{x,y}}}", ["a", "b1", "b2x", "b2y"], ["b", "b2", "b{1"]),
        ("img{,_small}.png", ["img.png", "img_small.png"], ["img_.png"]),
        ("{a}", ["{a}"], ["a"]),
        ("{}", ["{}"], [""]),
        ("{a,b", ["{a,b"], ["a", "b"]),
        ("a,b}", ["a,b}"], ["a", "b"]),
        ("{a{b,c}", ["{ab", "{ac"], ["a", "{a{b,c}"]),
        ("{a,{b}", ["{a,{b}"], ["a"]),
        ("[{]a,b[}]", ["{a,b}"], ["a", "b"]),
        ("a\\*", ["a\\", "a\\b"], ["a*"]),
        ("a|b", ["a|b"], ["a", "b"]),
        ("{a|*,b}", ["a|", "a|x", "b"], ["a", "x"]),
        ("$x^(y).+", ["$x^(y).+"], ["x"]),
    ],
)
def test_what_a_pattern_takes(pattern: str, taken: list[str], left: list[str]) -> None:
    assert [path for path in taken if not matches(pattern, path)] == []
    assert [path for path in left if matches(pattern, path)] == []


@pytest.mark.parametrize(
    ("pattern", "taken", "left"),
    [
        ("*.jpg", ["IMG.JPG", "img.Jpg", "x.jpg"], ["x.jpg.bak"]),
        ("*.PNG", ["a.png", "a.PNG"], []),
        ("*.{jpg,png}", ["A.JPG", "a.Png"], ["A.GIF"]),
        ("*.{jp,tif}{g,f}", ["x.JPG", "x.tiff", "x.TIFF"], ["x.jp"]),
        ("a.jpg", ["a.JPG"], ["A.jpg"]),
        ("img.v2/*", ["img.v2/x"], ["img.V2/x"]),
        ("*.jp[g]", ["x.jpg"], ["x.JPG"]),
        ("*.jp2000k", ["x.JP2000K"], ["x.jp2000\u212a"]),  # the Kelvin sign is a k for those who fold case
        ("*.größe", ["x.größe"], ["x.GRÖßE", "x.GRÖSSE"]),
        ("*.", ["x."], ["x"]),
    ],
)
def test_the_extension_at_the_end_matches_in_either_case(pattern: str, taken: list[str], left: list[str]) -> None:
    assert [path for path in taken if not matches(pattern, path)] == []
    assert [path for path in left if matches(pattern, path)] == []


def test_bytes_that_are_no_text_match_as_one_character_each() -> None:
    assert matches(b"caf?.jpg", b"caf\xe9.jpg")
    assert matches(b"*\xe9*", b"caf\xe9.jpg")
    assert matches(b"[\xe8-\xea]", b"\xe9")
    assert not matches(b"caf?.jpg", b"caf\xe9\xe9.jpg")


# ---- against a matcher that tries everything ---------------------------------------------------------------------

EXTENSION = re.compile(r"\.[A-Za-z0-9]+\Z")


def naive(pattern: str, path: str) -> bool:
    return any(
        naive_names([name for name in text.split("/") if name not in ("", ".")], path.split("/"))
        for text in naive_braces(pattern)
    )


def naive_braces(text: str) -> list[str]:
    """The innermost braces first, by putting private characters in place of those that mean themselves."""
    found = re.search(r"\{([^{}]*)\}", text)
    if found is None:
        return [text.replace("\ue000", "{").replace("\ue001", "}")]
    before, after = text[: found.start()], text[found.end() :]
    if "," not in found[1]:
        return naive_braces(f"{before}\ue000{found[1]}\ue001{after}")
    return [each for part in found[1].split(",") for each in naive_braces(before + part + after)]


def naive_names(pattern: list[str], names: list[str]) -> bool:
    if not pattern or not names:
        return not pattern and not names
    first, *rest = pattern
    if first != "**":
        return naive_name(first, names[0], is_last=not rest) and naive_names(rest, names[1:])
    if not rest:
        return True
    return naive_names(rest, names) or naive_names(pattern, names[1:])


def naive_name(pattern: str, name: str, *, is_last: bool) -> bool:
    extension = EXTENSION.search(pattern) if is_last else None
    if extension is None:
        return naive_tokens(naive_split(pattern), name)
    stem, end = name[: -len(extension[0])], name[-len(extension[0]) :]
    return end.lower() == extension[0].lower() and naive_tokens(naive_split(pattern[: extension.start()]), stem)


def naive_split(pattern: str) -> list[str]:
    tokens = []
    while pattern:
        first = 2 if pattern.startswith("[!") else 1
        end = pattern.find("]", first + 1) + 1 if pattern.startswith("[") else 0
        tokens.append(pattern[: end or 1])
        pattern = pattern[end or 1 :]
    return tokens


def naive_tokens(tokens: list[str], name: str) -> bool:
    if not tokens:
        return not name
    first, *rest = tokens
    if first == "*":
        return any(naive_tokens(rest, name[taken:]) for taken in range(len(name) + 1))
    if not name:
        return False
    return (first == "?" or name[0] == first if len(first) == 1 else naive_set(first[1:-1], name[0])) and naive_tokens(
        rest, name[1:]
    )


def naive_set(inside: str, character: str) -> bool:
    if inside.startswith("!"):
        return not naive_set_of(inside[1:], character)
    return naive_set_of(inside, character)


def naive_set_of(inside: str, character: str) -> bool:
    if len(inside) > 2 and inside[1] == "-":
        return inside[0] <= character <= inside[2] or naive_set_of(inside[3:], character)
    return bool(inside) and (inside[0] == character or naive_set_of(inside[1:], character))


NAMES = st.text("abAB.!-]*", min_size=1, max_size=6).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
WITHOUT_BRACES = st.lists(
    st.sampled_from(
        ["a", "b", "A", ".", ".a", ".B", "*", "**", "?", "[ab]", "[!a]", "[a-b]", "[]", "[!]", "-", "/", "/**/"]
    ),
    min_size=1,
    max_size=8,
).map("".join)
WITH_BRACES = st.text("ab.*/{},", min_size=1, max_size=10)


def sensible(pattern: str) -> bool:
    """Not one that says nothing, as ``./``: what a directory alone means is no pattern's business."""
    return all(any(name not in ("", ".") for name in text.split("/")) for text in naive_braces(pattern))


@settings(max_examples=400)
@given(pattern=WITHOUT_BRACES.filter(sensible), path=PATHS)
def test_patterns_match_what_trying_everything_matches(pattern: str, path: str) -> None:
    assert matches(pattern, path) == naive(pattern, path)


@settings(max_examples=400)
@given(pattern=WITH_BRACES.filter(sensible), path=PATHS)
def test_braces_match_what_each_of_their_texts_matches(pattern: str, path: str) -> None:
    assert matches(pattern, path) == naive(pattern, path)


@settings(max_examples=200)
@given(path=st.lists(st.binary(min_size=1, max_size=8).filter(lambda n: not set(n) & set(b"\0/*?[{")), min_size=1))
def test_text_without_signs_matches_itself(path: list[bytes]) -> None:
    whole = b"/".join(path)
    if not set(path) & {b".", b".."}:
        assert Glob.parse(whole[:MAX_BYTES]).matches(whole[:MAX_BYTES].rstrip(b"/")) or b"//" in whole
        assert not is_pattern(whole)


@settings(max_examples=200)
@given(pattern=WITH_BRACES.filter(sensible), path=PATHS)
def test_a_walk_that_goes_by_what_a_pattern_says_finds_all_that_it_matches(pattern: str, path: str) -> None:
    glob = Glob.parse(pattern.encode())
    if glob.matches(path.encode()):
        directories = path.split("/")[:-1]
        for depth in range(1, len(directories) + 1):
            assert glob.goes_on(glob.after("/".join(directories[:depth]).encode()))


@pytest.mark.parametrize(
    ("pattern", "entered", "passed"),
    [
        ("*.jpg", [], ["a", "a.jpg"]),
        ("photos/*.jpg", ["photos"], ["photos/sub", "other", "photos.jpg"]),
        ("*/2024/*.jpg", ["a", "a/2024"], ["a/2023", "a/2024/b"]),
        ("a/**/x.jpg", ["a", "a/b", "a/b/c"], ["b"]),
        ("{a,b/c}/*.jpg", ["a", "b", "b/c"], ["c", "b/d", "a/c"]),
    ],
)
def test_only_directories_with_possible_matches_are_worth_entering(
    pattern: str, entered: list[str], passed: list[str]
) -> None:
    glob = Glob.parse(pattern.encode())
    assert [path for path in entered if not glob.goes_on(glob.after(path.encode()))] == []
    assert [path for path in passed if glob.goes_on(glob.after(path.encode()))] == []


@pytest.mark.parametrize(
    ("pattern", "whole", "parts"),
    [
        ("drafts/**", ["drafts"], ["other", "drafts2"]),
        ("**/drafts/**", ["drafts", "a/drafts", "a/b/drafts"], ["a"]),
        ("drafts/*", [], ["drafts"]),
        ("drafts/**/*.jpg", [], ["drafts"]),
        ("{a,b}/**", ["a", "b"], ["c"]),
        ("**", ["a", "a/b"], []),
    ],
)
def test_a_pattern_knows_where_it_takes_everything(pattern: str, whole: list[str], parts: list[str]) -> None:
    glob = Glob.parse(pattern.encode())
    assert [path for path in whole if not glob.takes_all_below(glob.after(path.encode()))] == []
    assert [path for path in parts if glob.takes_all_below(glob.after(path.encode()))] == []


# ---- bounds ------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 400 + "b", "a" * 250),
        ("*a?" * 300 + "[!a]", "a" * 250),
        ("*[ab]" * 190 + "c", "ab" * 125),
        ("**/" * 300 + "x", "/".join("y" * 1000)),
        ("**/*/" * 150 + "x", "/".join("y" * 1000)),
        ("**/a*a/" * 120 + "b", "/".join(["aaa"] * 1000)),
        ("**/{a,b}*/" * 8 + "x", "/".join(["ab"] * 1000)),
        ("{" * 500, "x"),
        ("{a," * 300, "x"),
        ("{" * 400 + "a,b" + "}" * 400, "x"),
        ("[" * 900, "x"),
        ("{a,*}" * 8 + "b", "a" * 250),
    ],
)
def test_hostile_patterns_come_to_an_end(pattern: str, path: str) -> None:
    assert not matches(pattern, path)


@pytest.mark.parametrize(
    "pattern", ["**/*/" * 100 + "x", "**/a*/" * 100 + "x", "{a,b}/**/{c,d}/**/*", "**/{a,b}*/" * 8]
)
def test_matching_never_keeps_more_than_the_places_of_the_pattern(pattern: str) -> None:
    glob = Glob.parse(pattern.encode())
    most = sum(len(parts) + 1 for parts in glob.alternatives)
    places = glob.start
    for name in [b"a", b"ab", b"b", b"x"] * 200:
        places = glob.step(places, name)
        assert len(places) <= most


def test_what_is_too_large_is_refused() -> None:
    Glob.parse(b"a" * MAX_BYTES)
    with pytest.raises(JobError, match="1,001 bytes"):
        Glob.parse(b"a" * (MAX_BYTES + 1))
    Glob.parse(b"{a,b}" * 8)
    for many in (b"{a,b}" * 9, b"{a,b}" * 200, b"{" + b"a," * 256 + b"b}", b"{a,{b,{c,d}}}" * 6):
        with pytest.raises(JobError, match=f"more than {MAX_ALTERNATIVES} alternatives"):
            Glob.parse(many)


def test_alternatives_that_differ_in_the_last_name_cost_as_much_as_one() -> None:
    assert len(Glob.parse(b"**/*.{jpg,jpeg,png,tif,tiff}").alternatives) == 1
    assert len(Glob.parse(b"{a,b}/*.{jpg,png}").alternatives) == 2


# ---- taking patterns apart ---------------------------------------------------------------------------------------


def test_a_pattern_is_told_from_a_name() -> None:
    patterns = ["*", "a?", "[a]", "{a,b}", "x{,y}", "a/**/b", "[]]"]
    names = ["", "a.jpg", "[", "a]", "{a}", "{a,b", "a,b", "[]", "[!]", "a/b", "$x"]
    assert [text for text in patterns if not is_pattern(text.encode())] == []
    assert [text for text in names if is_pattern(text.encode())] == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a/b/*.jpg", ["a", "b", "*.jpg"]),
        ("{a/b,c}/d", ["{a/b,c}", "d"]),
        ("{a/b/c", ["{a", "b", "c"]),
        ("/abs/*", ["", "abs", "*"]),
        ("x/{a,{b/c,d}/e}/f", ["x", "{a,{b/c,d}/e}", "f"]),
    ],
)
def test_slashes_between_braces_part_nothing(text: str, parts: list[str]) -> None:
    assert components(text.encode()) == [part.encode() for part in parts]


def test_a_directory_before_a_pattern_is_never_read_as_one() -> None:
    for directory in (b"/data/a[1]", b"/x*/{a,b}", b"/**", b"/?"):
        glob = Glob.parse(b"*.jpg", below=directory)
        assert glob.matches(directory[1:] + b"/a.jpg")
    assert not Glob.parse(b"*.jpg", below=b"/data/a[1]").matches(b"data/a1/a.jpg")
    assert not Glob.parse(b"*.jpg", below=b"/**").matches(b"x/a.jpg")


def test_all_ways_to_write_the_same_directories_match_the_same() -> None:
    for first, second in product(["a/b", "./a/b", "a//b", "a/./b"], repeat=2):
        assert Glob.parse(first.encode()).alternatives == Glob.parse(second.encode()).alternatives
