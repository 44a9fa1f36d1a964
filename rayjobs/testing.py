"""The test bench for plug-in authors: a pytest plug-in with fixtures, and the checks that an extension must pass.

    pytest -p rayjobs.testing

While it is active no installed extension can be loaded, so that tests don't depend on what a machine has; a test that
wants them asks for the fixture ``installed_extensions``. A temporary extension is one ``with`` block. The checks raise
``AssertionError`` with one sentence, or what the extension raised. They cover the contracts that the program relies on,
not whether an extension computes what it says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from rayjobs.image_checks import (
    DTYPES,
    SHAPES,
    Array,
    bench_image,
    bench_images,
    check_analysis,
    check_chart,
    check_operation,
)
from rayjobs.plugins import Analysis, ProcessorExtension, ResourceProvider, TaskHandler

__all__ = [
    "any_image",
    "bench_image",
    "bench_images",
    "check_analysis",
    "check_chart",
    "check_operation",
    "check_resource_provider",
    "check_task_handler",
    "installed_extensions",
    "no_installed_extensions",
    "temporary_extension",
]

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
