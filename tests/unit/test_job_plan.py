"""What decides a product: its digest changes exactly when something that decides its bytes does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.product_plan import IMAGE
from rayjobs.job_file import parse_job
from rayjobs.job_plan import wanted_products

JOB: dict[str, Any] = {
    "name": "a",
    "inputs": ["in/"],
    "output": "out",
    "operations": [{"gamma": {"gamma": 1.2}}, "invert"],
    "analyses": ["luma_waveform", {"statistics": {}}],
    "export": {"images": {"format": "jpeg"}, "charts": True},
}


def products(extensions: dict[str, str] | None = None, base: Path = Path(), **changes: Any) -> dict[str, str]:
    """Of the job with some keys replaced; names of analyses without their parameters."""
    found = wanted_products(parse_job(yaml.safe_dump({**JOB, **changes}), base=base), extensions or {})
    return {name.replace("analysis:[", "").split(",")[0].strip('"'): digest for name, digest in found.items()}


def export(**changes: Any) -> dict[str, Any]:
    return {**JOB["export"], **changes}


ALL = {IMAGE, "luma_waveform", "statistics", "chart:luma_waveform"}


@pytest.mark.parametrize(
    ("changes", "differ"),
    [
        ({}, set()),
        ({"name": "b", "inputs": ["elsewhere/"], "output": "there", "priority": "low", "stages": "staged"}, set()),
        ({"limits": {"memory_per_image": "1GiB", "attempts": 1}, "durability": "power", "max_failures": 3}, set()),
        ({"export": export(data=["csv", "xlsx"])}, set()),
        ({"export": export(images={"format": "jpeg", "layout": "flat", "name": "{index}"})}, set()),
        ({"export": export(images={"format": "jpeg", "on_conflict": "skip"})}, set()),
        ({"operations": [{"gamma": {"gamma": 1.3}}, "invert"]}, ALL),
        ({"operations": ["invert", {"gamma": {"gamma": 1.2}}]}, ALL),
        ({"operations": []}, ALL),
        ({"read": {"color": "keep"}}, ALL),
        ({"read": {"truncated": "salvage"}}, ALL),
        ({"export": export(images={"format": "jpeg", "quality": 91})}, {IMAGE}),
        ({"export": export(images={"format": "png"})}, {IMAGE}),
        ({"export": export(images={"format": "jpeg", "layout": "beside"})}, {IMAGE}),
        ({"export": export(charts={"engine": "matplotlib"})}, {"chart:luma_waveform"}),
        ({"export": export(charts={"width": 700})}, {"chart:luma_waveform"}),
        ({"analyses": ["statistics", "luma_waveform"]}, set()),
    ],
    ids=str,
)
def test_a_digest_changes_exactly_with_what_decides_the_product(changes: dict[str, Any], differ: set[str]) -> None:
    before, after = products(), products(**changes)
    assert before.keys() == ALL
    assert {name for name in ALL if after.get(name) != before[name]} == differ


def test_one_analysis_more_leaves_the_others_as_they_are() -> None:
    more = products(analyses=["luma_waveform", "statistics", "sharpness"])
    assert {name for name, digest in more.items() if products().get(name) != digest} == {"sharpness"}


def test_parameters_of_an_analysis_are_part_of_what_it_is_called_and_of_its_chart() -> None:
    spec = parse_job(yaml.safe_dump({**JOB, "analyses": [{"luma_waveform": {"luma": "bt601"}}, "statistics"]}))
    plain = wanted_products(parse_job(yaml.safe_dump(JOB)), {})
    other = wanted_products(spec, {})
    assert {name for name, digest in other.items() if plain.get(name) == digest} == {
        IMAGE,
        *(name for name in plain if "statistics" in name),
    }


def test_another_version_of_a_plug_in_makes_all_anew() -> None:
    assert not set(products({"p": "1.0"}).values()) & set(products({"p": "1.1"}).values())
    assert products({"p": "1.0"}) == products({"p": "1.0"})


def test_a_look_counts_by_its_contents_not_by_its_place(tmp_path: Path) -> None:
    text = "LUT_3D_SIZE 2\n" + "\n".join(f"{r} {g} {b}" for b in (0, 1) for g in (0, 1) for r in (0, 1)) + "\n"
    for name in ("a.cube", "b.cube"):
        (tmp_path / name).write_text(text)

    def of(name: str) -> dict[str, str]:
        return products(base=tmp_path, operations=[{"lut3d": {"path": name}}])

    assert of("a.cube") == of("b.cube")
    before = of("a.cube")
    (tmp_path / "a.cube").write_text(text.replace("1 1 1", "1 1 0.9"))
    assert not set(of("a.cube").values()) & set(before.values())


def test_rows_of_frames_are_wanted_when_all_frames_are_read() -> None:
    assert products(read={"frames": "all"}).keys() == ALL | {"frames"}
    assert products(read={"frames": "all"}, analyses=["objects"]).keys() == {
        IMAGE,
        "objects",
        "frames",
        "frames_objects",
    }
