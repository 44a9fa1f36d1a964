"""What decides a product: its digest changes exactly when something that decides its bytes does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from numpy.typing import NDArray

from actors.ledger.product_plan import IMAGE
from pipelines.cache_keys import chain_key, step_key
from rayjobs.job.job_check import JobFileError, check_job
from rayjobs.job.job_file import parse_job
from rayjobs.job.product_keys import wanted_products
from rayjobs.plugins import ProcessorExtension
from rayjobs.testing import temporary_extension

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


class Grain(ProcessorExtension):
    """An operation that reads a file, and has a parameter beside it."""

    def process(self, image: NDArray[Any], config: dict[str, Any]) -> NDArray[Any]:
        return image

    def get_name(self) -> str:
        return "grain"

    def get_supported_configs(self) -> list[str]:
        return ["path", "strength"]

    def get_file_configs(self) -> list[str]:
        return ["path"]


class Plain(Grain):
    """The same, but that its ``path`` is a text like any other."""

    def get_file_configs(self) -> list[str]:
        return []


def test_a_file_counts_by_its_contents_and_the_parameters_beside_it_by_their_values(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"grain")

    def of(name: str, strength: float) -> str:
        steps = [{"grain": {"path": name, "strength": strength}}]
        job = {**JOB, "operations": steps, "plugins": ["grain"]}
        spec = check_job(job, base=tmp_path)
        keys = chain_key(spec.operations), wanted_products(spec, {})[IMAGE]
        return " ".join(keys)

    with temporary_extension(Grain()):
        first = of("a.png", 1)
        assert of("b.png", 1) == first
        assert len({*first.split(), *of("a.png", 2).split()}) == 4
        (tmp_path / "a.png").write_bytes(b"another grain")
        assert len({*first.split(), *of("a.png", 1).split()}) == 4
        with pytest.raises(JobFileError, match=rf"operations\[0\]\.grain\.path: {tmp_path}/c\.png: No such file"):
            of("c.png", 1)
    with temporary_extension(Plain()):
        assert len({*of("a.png", 1).split(), *of("b.png", 1).split()}) == 4  # a text, whatever it is called
        assert of("c.png", 1) != of("c.png", 2)


def test_what_is_told_of_built_in_steps_is_what_ledgers_have_of_them(tmp_path: Path) -> None:
    look = tmp_path / "look.cube"
    look.write_text("LUT_1D_SIZE 2\n0 0 0\n1 1 1\n")
    steps = ["invert", {"gamma": {"gamma": 2}}, {"resize": {"width": 64}}, {"lut3d": {"path": "look.cube"}}]
    told = [step_key(step)[:2] for step in check_job({**JOB, "operations": steps}, base=tmp_path).operations]
    size = '"enlarge":false,"height":null,"kernel":"lanczos","max_side":null,"mode":"fit","width":64'
    assert told == [
        ['["invert",{}]', {}],
        ['["gamma",{"gamma":2.0}]', {}],
        [f'["resize",{{{size}}}]', {}],
        ["lut3d", {"path": "71a4b822c702424a0d1d77d02abad109f0bc5ee5652b0a60c15656f58691fdd8"}],
    ]


def test_rows_of_frames_are_wanted_when_all_frames_are_read() -> None:
    assert products(read={"frames": "all"}).keys() == ALL | {"frames"}
    assert products(read={"frames": "all"}, analyses=["objects"]).keys() == {
        IMAGE,
        "objects",
        "frames",
        "frames_objects",
    }
