"""Cache keys: equal for equal work, different as soon as anything that decides the result is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from pipelines import cache_keys
from pipelines.cache_keys import chain_key, content_digest, file_digest, fingerprint, render_key
from pipelines.errors import RayjobsError
from pipelines.models import ImageOperation
from pipelines.operations import OPERATIONS, ChainError, Image
from pipelines.operations.registry import Operation
from tests.strategies import example_image, images

LARGE = (400, 300)


@settings(max_examples=40)
@given(images())
def test_the_digest_is_of_samples_not_of_memory_layout(image: Image) -> None:
    assert content_digest(np.asfortranarray(image)) == content_digest(image)
    assert content_digest(np.repeat(image, 2, axis=1)[:, ::2]) == content_digest(image)


def test_the_digest_tells_samples_shapes_and_types_apart() -> None:
    zeros = np.zeros((4, 6), np.uint8)
    one = zeros.copy()
    one[3, 5] = 1
    different = [zeros, one, zeros.reshape(6, 4), np.zeros((4, 3), np.uint16), np.zeros((2, 4, 3), np.uint8)]
    assert len({content_digest(image) for image in different}) == len(different)


@pytest.mark.parametrize(("shape", "exact"), [((20, 30), True), (LARGE, False)])
def test_the_fingerprint_is_the_same_for_equal_images(shape: tuple[int, int], exact: bool) -> None:
    image = example_image("uint8", 3, shape)
    assert fingerprint(image) == fingerprint(image.copy())
    assert fingerprint(image)[1] is exact
    assert fingerprint(image) != fingerprint(example_image("uint8", 3, shape, seed=1))
    assert fingerprint(np.asfortranarray(image)) == fingerprint(image)


def chain(*steps: tuple[str, dict[str, object]]) -> list[ImageOperation]:
    return [ImageOperation(name, params) for name, params in steps]


def test_defaults_and_order_of_parameters_do_not_matter() -> None:
    plain = chain(("gaussian", {}), ("levels", {"in_black": 0.1, "gamma": 2}))
    spelled = chain(("gaussian", {"sigma": 1.0}), ("levels", {"gamma": 2.0, "in_black": 0.1}))
    assert chain_key(plain) == chain_key(spelled)


@pytest.mark.parametrize(
    "other",
    [
        [],
        chain(("gamma", {"gamma": 2}), ("gaussian", {})),
        chain(("gaussian", {}), ("gamma", {"gamma": 2.1})),
        chain(
            ("gaussian", {}),
        ),
    ],
    ids=["nothing", "other order", "other value", "less"],
)
def test_another_chain_has_another_key(other: Sequence[ImageOperation]) -> None:
    assert chain_key(other) != chain_key(chain(("gaussian", {}), ("gamma", {"gamma": 2})))


def test_a_wrong_chain_has_no_key() -> None:
    with pytest.raises(ChainError, match=r"operation 1 \(gausian\)"):
        chain_key(chain(("gausian", {})))


def test_a_new_version_of_an_operation_is_another_key() -> None:
    steps = chain(("invert", {}))
    before = chain_key(steps)
    entries: dict[str, Operation] = OPERATIONS._entries
    original = entries["invert"]
    entries["invert"] = replace(original, version="plug-in 2.0")
    try:
        assert chain_key(steps) != before
    finally:
        entries["invert"] = original
    assert chain_key(steps) == before


def test_another_package_version_is_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = chain(("invert", {}))
    before = chain_key(steps)
    monkeypatch.setattr(cache_keys, "package_versions", lambda: {"numpy": "1.0"})
    assert chain_key(steps) != before


def test_the_content_of_a_look_up_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "look.cube"
    path.write_text("LUT_1D_SIZE 2\n0 0 0\n1 1 1\n")
    steps = chain(("lut3d", {"path": str(path)}))
    before = chain_key(steps)
    copy = tmp_path / "copy.cube"
    copy.write_bytes(path.read_bytes())
    assert chain_key(chain(("lut3d", {"path": str(copy)}))) == before
    path.write_text("LUT_1D_SIZE 2\n0 0 0\n1 1 0.5\n")
    assert chain_key(steps) != before


def test_a_file_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, message in {"none": "No such file", "pipe": "is no file", "": "is no file", "a\0b": "null"}.items():
        with pytest.raises(RayjobsError, match=message):
            file_digest(str(tmp_path / name))


def test_render_keys_join_everything() -> None:
    base = render_key("content", "chain", hint="default", version=1)
    others = {
        render_key("other", "chain", hint="default", version=1),
        render_key("content", "other", hint="default", version=1),
        render_key("content", "chain", hint="fast", version=1),
        render_key("content", "chain", hint="default", version=2),
    }
    assert len(others - {base}) == 4
