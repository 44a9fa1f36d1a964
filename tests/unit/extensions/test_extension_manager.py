"""Plug-ins: nothing is imported before it is allowed, each breaks alone, and what they register goes away again."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.analyses.registry import Analysis, Column
from pipelines.contracts import RESOURCES, TASK_TYPES, ProcessorExtension
from pipelines.errors import FailedReason, ImageError
from pipelines.extensions.extension_adapters import ExtensionError, ExtensionKind, Origin, analysis_of, operation_of
from pipelines.extensions.extension_manager import ExtensionManager, load_extensions, process_extensions
from pipelines.models import ImageOperation
from pipelines.operations import OPERATIONS, ChainError, Image, Operation, apply_operations, compile_chain
from pipelines.registry import parameters_of
from tests.example_plugin import EXAMPLES, install_example, own_tests
from tests.strategies import example_image

EXAMPLE = """
from pipelines.contracts import ProcessorExtension

class Flip(ProcessorExtension):
    '''Turns the picture upside down.'''
    def get_name(self): return {name!r}
    def get_supported_configs(self): return ["times"]
    def process(self, image, config): return image[::-1] if config.get("times", 1) % 2 else image
"""

Package = Callable[..., None]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """Installs a package of one module, as pip would, in a directory that is on the path during the test alone."""
    monkeypatch.syspath_prepend(tmp_path)
    modules: list[str] = []

    def install(name: str, source: str, entry_points: str, version: str = "1.0") -> None:
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(entry_points)
        modules.append(module)

    yield install
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture(scope="module")
def example_plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_example(tmp_path_factory.mktemp("example"))


@pytest.fixture
def upend(package: Package) -> None:
    package("upside", EXAMPLE.format(name="upend"), "[rayjobs.processors]\nupend = upside:Flip\n")


@pytest.fixture
def manager() -> Iterator[ExtensionManager]:
    manager = ExtensionManager()
    yield manager
    manager.close()


def test_listing_imports_nothing(upend: None, manager: ExtensionManager) -> None:
    (found,) = [extension for extension in manager.discover() if extension.name == "upend"]
    assert (found.kind, found.distribution, found.version) == (ExtensionKind.PROCESSOR, "upside", "1.0")
    assert not found.allowed
    assert not found.loaded
    assert "upside" not in sys.modules


def test_only_allowed_names_are_imported(upend: None, manager: ExtensionManager) -> None:
    problems = manager.load(["upend"])
    assert "plug-in 'upend' (upside 1.0) isn't allowed" in problems["upend"]
    assert problems["upend"].endswith("add `--allow-plugin upend` to the command, or set RAYJOBS_ALLOW_PLUGINS=upend")
    assert "upside" not in sys.modules
    with pytest.raises(ChainError, match=r"unknown operation: plug-in 'upend' \(upside 1.0\) isn't allowed"):
        compile_chain([ImageOperation("upend")])


def test_all_that_is_allowed_may_be_loaded_for_listing(upend: None, manager: ExtensionManager) -> None:
    assert manager.load_allowed() == {}
    assert "upend" not in OPERATIONS
    manager.allow(["upend", "absent"])
    assert list(manager.load_allowed()) == ["absent"]
    assert "upend" in OPERATIONS


def test_an_allowed_one_works_and_goes_away_again(upend: None, manager: ExtensionManager) -> None:
    manager.load(["upend"])
    manager.allow(["upend"])
    assert manager.load(["upend", "upend"]) == {}
    image = example_image("uint16", 4)
    np.testing.assert_array_equal(apply_operations(image, [ImageOperation("upend")]).pixels, image[::-1])
    np.testing.assert_array_equal(apply_operations(image, [ImageOperation("upend", {"times": 2})]).pixels, image)
    assert OPERATIONS["upend"].summary == "Turns the picture upside down."
    assert [(e.allowed, e.loaded) for e in manager.discover() if e.name == "upend"] == [(True, True)]
    manager.close()
    assert "upend" not in OPERATIONS
    assert manager.versions() == {}


def test_the_version_and_the_source_are_part_of_cache_keys(
    upend: None, package: Package, manager: ExtensionManager, tmp_path: Path
) -> None:
    manager.allow(["upend"])
    assert manager.load(["upend"]) == {}
    before = OPERATIONS["upend"].version
    assert str(before).startswith("upside 1.0 ")
    assert manager.versions(["upend", "other"]) == {"upend": before}
    manager.close()
    (tmp_path / "upside.py").write_text(EXAMPLE.format(name="upend") + "# edited\n")
    assert manager.load(["upend"]) == {}
    assert OPERATIONS["upend"].version != before


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("raise GeneratorExit('no')", "GeneratorExit: no"),
        ("def Flip(", "SyntaxError"),
        ("", "has no attribute 'Flip'"),
        ("Flip = 3", "expected a ProcessorExtension or an Operation, found builtins.int"),
        (EXAMPLE.format(name="flop"), "calls itself 'flop'"),
        (EXAMPLE.format(name="broken").replace('"times"', '"copy"'), "'copy' can't be the name of a parameter"),
    ],
    ids=["raises", "exits", "ends", "syntax", "missing", "no extension", "other name", "odd parameter"],
)
def test_a_broken_one_is_reported_once_and_the_others_work(
    upend: None,
    package: Package,
    manager: ExtensionManager,
    caplog: pytest.LogCaptureFixture,
    source: str,
    message: str,
) -> None:
    package("bad-one", source, "[rayjobs.processors]\nbroken = bad_one:Flip\n")
    manager.allow(["upend", "broken"])
    with caplog.at_level(logging.WARNING):
        problems = manager.load(["broken", "upend"])
        assert manager.load(["broken", "upend"]) == problems
    assert list(problems) == ["broken"]
    assert "plug-in 'broken' (bad-one 1.0): " in problems["broken"]
    assert message in problems["broken"]
    assert len(caplog.records) == 1
    assert "upend" in OPERATIONS
    assert [e.problem for e in manager.discover() if e.name == "broken"] == [problems["broken"]]


def test_a_name_that_two_packages_offer_is_nobodys(upend: None, package: Package, manager: ExtensionManager) -> None:
    package("usurper", EXAMPLE.format(name="upend"), "[rayjobs.charts]\nupend = usurper:Flip\n")
    manager.allow(["upend"])
    assert "more than once, by upside and usurper" in manager.load(["upend"])["upend"]
    assert not {"upside", "usurper"} & set(sys.modules)


def test_a_name_that_is_taken_stays_with_its_owner(package: Package, manager: ExtensionManager) -> None:
    package("bad-one", EXAMPLE.format(name="gamma"), "[rayjobs.processors]\ngamma = bad_one:Flip\n")
    own = OPERATIONS["gamma"]
    manager.allow(["gamma"])
    assert "is registered already" in manager.load(["gamma"])["gamma"]
    assert OPERATIONS["gamma"] is own


def test_one_that_is_not_installed_is_named_with_its_neighbours(upend: None, manager: ExtensionManager) -> None:
    manager.allow(["upemd"])
    assert "plug-in 'upemd' isn't installed" in manager.load(["upemd"])["upemd"]
    assert "did you mean 'upend'?" in manager.load(["upemd"])["upemd"]
    with pytest.raises(ImageError, match="isn't installed") as caught:
        apply_operations(example_image("uint8", 3), [ImageOperation("upemd")])
    assert caught.value.reason is FailedReason.PLUGIN_ERROR


def test_all_kinds_of_a_name_load_or_none(package: Package, manager: ExtensionManager) -> None:
    entries = "[rayjobs.processors]\nupend = half:Flip\n[rayjobs.analyses]\nupend = half:nothing\n"
    package("half", EXAMPLE.format(name="upend") + "nothing = None\n", entries)
    manager.allow(["upend"])
    assert "expected an Analysis, found None" in manager.load(["upend"])["upend"]
    assert "upend" not in OPERATIONS


def test_workers_load_what_the_driver_planned_with_and_nothing_else(upend: None, manager: ExtensionManager) -> None:
    manager.allow(["upend"])
    assert manager.load(["upend"]) == {}
    planned = manager.versions()
    manager.close()
    try:
        assert load_extensions({}) == {}
        assert load_extensions(planned) == load_extensions(planned) == {}
        assert "upend" in OPERATIONS
        problem = load_extensions({"upend": "upside 0.9 abc"})["upend"]
        assert "planned was upside 0.9 abc; install the same version everywhere" in problem
        assert "upend" not in OPERATIONS
    finally:
        process_extensions().close()


def test_threads_load_it_once(upend: None, manager: ExtensionManager) -> None:
    manager.allow(["upend"])
    found: list[dict[str, str]] = []
    threads = [threading.Thread(target=lambda: found.append(manager.load(["upend"]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [{}] * 8


class Brightest(ProcessorExtension):
    """Does what a test tells it."""

    def __init__(self, result: Callable[[Image], Any]) -> None:
        self.result = result

    def get_name(self) -> str:
        return "brightest"

    def get_supported_configs(self) -> list[str]:
        return ["value", "more"]

    def process(self, image: Image, config: dict[str, Any]) -> Any:
        self.config = config
        return self.result(image)


class Unspeakable(BaseException):
    """Raises when somebody asks what it says."""

    def __str__(self) -> str:
        raise SystemExit(3)


def raising(error: BaseException) -> Callable[[Image], Any]:
    def run(image: Image) -> Any:
        raise error

    return run


def write_into(image: Image) -> Image:
    image[0] = 0
    return image


@pytest.mark.parametrize(
    ("result", "reason", "message"),
    [
        (raising(ValueError("no")), FailedReason.PLUGIN_ERROR, "ValueError: no"),
        (raising(SystemExit(1)), FailedReason.PLUGIN_ERROR, "SystemExit"),
        (raising(KeyboardInterrupt()), FailedReason.PLUGIN_ERROR, "KeyboardInterrupt"),
        (raising(GeneratorExit()), FailedReason.PLUGIN_ERROR, "GeneratorExit"),
        (raising(BaseException("bare")), FailedReason.PLUGIN_ERROR, "BaseException: bare"),
        (raising(Unspeakable()), FailedReason.PLUGIN_ERROR, "Unspeakable: (its text can't be told)"),
        (raising(ImageError(FailedReason.TOO_LARGE, "big")), FailedReason.TOO_LARGE, "big"),
        (raising(MemoryError()), FailedReason.OUT_OF_MEMORY, "MemoryError"),
        (lambda image: None, FailedReason.PLUGIN_ERROR, "returned None instead of ndarray"),
        (lambda image: image.astype(float), FailedReason.PLUGIN_ERROR, "returned float64 for uint8"),
        (lambda image: image[None], FailedReason.PLUGIN_ERROR, "returned the shape"),
        (write_into, FailedReason.PLUGIN_ERROR, "read-only"),
    ],
    ids=[
        "raises",
        "exits",
        "interrupts",
        "closes",
        "bare",
        "unspeakable",
        "own reason",
        "memory",
        "nothing",
        "dtype",
        "shape",
        "writes",
    ],
)
def test_what_a_plug_in_does_wrong_fails_the_image_with_its_name(
    manager: ExtensionManager, result: Callable[[Image], Any], reason: FailedReason, message: str
) -> None:
    undo = manager.register(ExtensionKind.PROCESSOR, "brightest", Brightest(result), version="2")
    with pytest.raises(ImageError, match=r"operation 1 \(brightest\).*plug-in 'brightest'|MemoryError") as caught:
        apply_operations(np.zeros((4, 5), np.uint8), [ImageOperation("brightest")])
    assert caught.value.reason is reason
    assert message in str(caught.value)
    undo()
    undo()
    assert "brightest" not in OPERATIONS


def test_config_holds_what_the_job_gives_and_is_the_plug_ins_own() -> None:
    extension = Brightest(lambda image: image)
    operation = operation_of(extension, Origin(name="brightest", distribution="d", version="1"))
    given = {"value": [1, {"a": None}]}
    arguments = dict(operation.parameters(**given))
    operation.function(example_image("uint8", 3), **arguments)
    assert extension.config == given
    extension.config["value"].append(2)
    operation.function(example_image("uint8", 3), **arguments)
    assert extension.config == given
    with pytest.raises(ValueError, match="unknown"):
        operation.parameters(unknown=1)


def test_a_whole_operation_may_be_a_plug_in(manager: ExtensionManager) -> None:
    def shift(image: Image, *, by: int = 1) -> Image:
        """Shift it."""
        return np.roll(image, by, axis=0)

    entry = Operation("shift", "own", shift, parameters_of(shift), reach="geometry", handles_alpha=True)
    manager.register(ExtensionKind.PROCESSOR, "shift", entry, version="7")
    image = example_image("uint8", 4)
    done = apply_operations(image, [ImageOperation("shift", {"by": 3})]).pixels
    np.testing.assert_array_equal(done, np.roll(image, 3, axis=0))
    assert OPERATIONS["shift"].version == "this program 7"
    assert OPERATIONS["shift"].summary == "Shift it."


def test_the_example_packages_install_and_offer_all_kinds(
    example_plugin: Path, manager: ExtensionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(example_plugin)
    names = ["vignette", "licence", "zip_folder"]
    assert {(e.name, str(e.kind)) for e in manager.discover() if e.name in names} == {
        ("vignette", "processor"),
        ("vignette", "analysis"),
        ("vignette", "chart"),
        ("licence", "resource"),
        ("zip_folder", "task"),
    }
    manager.allow(names)
    assert manager.load(names) == {}
    assert RESOURCES["licence"].get_available_resources().available == {"licence": 2}
    assert "zip_folder" in TASK_TYPES
    assert manager.versions()["vignette"].startswith("rayjobs-vignette 1.0.0 ")
    manager.close()
    assert "licence" not in RESOURCES
    assert "zip_folder" not in TASK_TYPES


@pytest.mark.parametrize("name", ["plugin", "plugin-services"])
def test_the_example_packages_own_tests_pass(name: str, example_plugin: Path) -> None:
    own_tests(EXAMPLES / name, example_plugin)


def test_parameters_that_cannot_be_checked_are_refused_before_a_job_runs() -> None:
    def cells(image: Image, *, kernel: type[Any] | Any = object) -> Any:
        return {"count": 0}

    cells.__annotations__["kernel"] = np.ndarray  # no plain value

    columns = [Column("count", "int64", "", "")]
    unfit = Analysis("cells", "measurements", cells, parameters_of(cells), lambda **_: columns)
    with pytest.raises(ExtensionError, match="parameters can't be checked"):
        analysis_of(unfit, Origin(name="cells", distribution="cells", version="1.0"))
