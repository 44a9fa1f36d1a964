"""The test bench for plug-in authors: a pytest plug-in with fixtures, and the checks that an extension must pass.

    pytest -p rayjobs.testing

While it is active no installed extension can be loaded, so that tests don't depend on what a machine has; a test that
wants them asks for the fixture ``installed_extensions``. A temporary extension is one ``with`` block. The checks raise
``AssertionError`` with one sentence, or what the extension raised. They cover the contracts that the program relies on,
not whether an extension computes what it says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rayjobs.plugins import Analysis, ProcessorExtension, ResourceProvider, TaskHandler

DTYPES = ("uint8", "uint16", "float32")
SHAPES = ((31, 47), (31, 47, 3), (31, 47, 4), (1, 1, 3), (1, 9), (8, 1, 4))
Array = NDArray[Any]


def bench_image(dtype: str, shape: tuple[int, ...]) -> Array:
    """A read-only picture of gradients and noise, the same on every call; float32 lies in 0..1."""
    height, width = shape[:2]
    row, column = np.mgrid[0:height, 0:width] / max(height, width)
    noise = np.random.default_rng(0).normal(0, 0.05, shape)
    picture = (0.2 + 0.6 * (row + column) / 2) if len(shape) == 2 else (0.2 + 0.6 * (row + column) / 2)[..., None]
    values = np.clip(picture + noise, 0, 1)
    kind = np.dtype(dtype)
    image = values.astype(kind) if kind.kind == "f" else np.rint(values * np.iinfo(kind).max).astype(kind)
    image.flags.writeable = False
    return np.asarray(image)


def bench_images() -> list[Array]:
    """One image of every dtype, number of channels and extreme size that an extension may get."""
    return [bench_image(dtype, shape) for dtype in DTYPES for shape in SHAPES]


# ---- fixtures --------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_installed_extensions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide what is installed on this machine, unless the test asks for ``installed_extensions``."""
    if "installed_extensions" not in request.fixturenames:
        from pipelines.extensions import extension_manager

        monkeypatch.setattr(extension_manager, "installed_entry_points", list)


@pytest.fixture
def installed_extensions() -> Iterator[Any]:
    """A manager of the installed extensions, none of them allowed yet; what it loads is taken out again."""
    from pipelines.extensions.extension_manager import ExtensionManager

    manager = ExtensionManager()
    yield manager
    manager.close()


@pytest.fixture(params=[(d, s) for d in DTYPES for s in SHAPES], ids=lambda p: f"{p[0]}-{'x'.join(map(str, p[1]))}")
def any_image(request: pytest.FixtureRequest) -> Array:
    """Runs the test once with each of the ``bench_images``."""
    return bench_image(*request.param)


@contextmanager
def temporary_extension(extension: object, *, name: str | None = None, version: str = "0") -> Iterator[str]:
    """Make an extension usable by name inside the block, as if its package were installed, allowed and loaded.

    The name is the extension's own; for resources, charts and tasks ``name`` must be given.
    """
    from pipelines.extensions.extension_adapters import ExtensionKind
    from pipelines.extensions.extension_manager import process_extensions

    made = extension() if isinstance(extension, type) else extension
    own = made.get_name() if isinstance(made, ProcessorExtension) else getattr(made, "name", None)
    chosen = name or own
    assert isinstance(chosen, str), "give the extension's name: temporary_extension(..., name=...)"
    kind = ExtensionKind.CHART
    for candidate, interface in (
        (ExtensionKind.PROCESSOR, ProcessorExtension),
        (ExtensionKind.ANALYSIS, Analysis),
        (ExtensionKind.RESOURCE, ResourceProvider),
        (ExtensionKind.TASK, TaskHandler),
    ):
        if isinstance(made, interface):
            kind = candidate
    undo = process_extensions().register(kind, chosen, made, version=version, distribution="temporary")
    try:
        yield chosen
    finally:
        undo()


# ---- contracts -------------------------------------------------------------------------------------------------------


def check_processor(extension: ProcessorExtension, configs: Sequence[Mapping[str, Any]] = ({},)) -> None:
    """Every kind of image gives an image of the same dtype, the same on every call; the input stays as it is."""
    from pipelines.models import ImageOperation
    from pipelines.operations import apply_operations

    keys = extension.get_supported_configs()
    assert len(set(keys)) == len(keys), f"get_supported_configs() names a key twice: {keys}"
    with temporary_extension(extension) as name:
        for config in configs:
            assert set(config) <= set(keys), f"unknown keys in {dict(config)}: get_supported_configs() gives {keys}"
            json.dumps(dict(config))
            for image in bench_images():
                before = image.copy()
                first, second = (apply_operations(image, [ImageOperation(name, config)]).pixels for _ in range(2))
                what = f"{name} with {dict(config)} on {image.dtype} {image.shape}"
                assert np.array_equal(image, before), f"{what} changes its input"
                assert np.array_equal(first, second, equal_nan=image.dtype.kind == "f"), f"{what} gives two results"


def check_analysis(analysis: Analysis, params: Sequence[Mapping[str, Any]] = ({},)) -> None:
    """Every kind of image gives exactly the declared columns, of the declared types, the same on every call."""
    from pipelines.analyses.registry import ANALYSES, ROWS
    from pipelines.models import AnalysisRequest
    from pipelines.tables import object_schemas, saved_schema, to_batch, to_rows_batch

    with temporary_extension(analysis) as name:
        entry = ANALYSES[name]
        for given in params:
            arguments = dict(entry.parameters(**given))
            request = AnalysisRequest(name, given)
            schema = saved_schema([request])
            of_objects = object_schemas([request]).get(request)
            for image in bench_images():
                before = image.copy()
                first, second = (entry.function(image, **arguments) for _ in range(2))
                what = f"{name} with {dict(given)} on {image.dtype} {image.shape}"
                assert np.array_equal(image, before), f"{what} changes its input"
                one, other = (to_batch([""], [{name: result}], schema) for result in (first, second))
                assert str(one.to_pylist()) == str(other.to_pylist()), f"{what} gives two results"
                if of_objects is not None:
                    one, other = (to_rows_batch([""], [result[ROWS]], of_objects) for result in (first, second))
                    assert str(one.to_pylist()) == str(other.to_pylist()), f"{what} gives two tables of objects"


def check_resource_provider(provider: ResourceProvider) -> None:
    """Units are counted, never given twice, refused when there are none left, and taken back once."""
    info = provider.get_available_resources()
    assert set(info.available) == set(info.total), "total and available name different resources"
    assert all(0 <= info.available[name] <= total for name, total in info.total.items()), f"impossible amounts: {info}"
    assert len(info.total) == 1, f"a provider has one resource, not {sorted(info.total)}"
    (name,) = info.total
    free = int(info.available[name])
    assert free >= 1, f"the check needs a free unit of {name}"
    units = [provider.allocate(1) for _ in range(free)]
    assert len({unit.allocation_id for unit in units}) == free, "two allocations have one allocation_id"
    assert all(unit.amounts == {name: 1} for unit in units), f"an allocation of one unit says {units[0].amounts}"
    assert provider.get_available_resources().available[name] == 0, "allocate() doesn't lower the available amount"
    with pytest.raises(Exception, match=r".+"):
        provider.allocate(1)
    for unit in [*units, *units]:
        provider.release(unit)
    assert provider.get_available_resources().available[name] == free, "release() must count once, even when repeated"
    with pytest.raises(Exception, match=r".+"):
        provider.allocate(int(info.total[name]) + 1)
    assert provider.get_available_resources().available[name] == free, "a refused allocate() keeps units"


def check_task_handler(handler: TaskHandler, configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Run one task of each type, twice, since a task may be repeated after a crash; give the values by type.

    ``configs`` maps every supported task type to a config that must complete.
    """
    from rayjobs.plugins import ExtensibleTask, TaskStatus

    types = handler.get_supported_task_types()
    assert sorted(configs) == sorted(types), f"give a config for each of {types}"
    values: dict[str, Any] = {}
    for task_type, config in configs.items():
        for _ in range(2):
            task = ExtensibleTask(task_id="check-1", job_id="check", task_type=task_type, config=dict(config))
            result = handler.handle_task(task)
            assert result.task_id == task.task_id, f"{task_type}: the result is of task {result.task_id!r}"
            assert result.status is TaskStatus.COMPLETED, f"{task_type}: {result.status}: {result.error}"
            text = json.dumps(result.value, sort_keys=True)
            assert values.setdefault(task_type, text) == text, f"{task_type}: repeating it gives another value"
    return {task_type: json.loads(text) for task_type, text in values.items()}
