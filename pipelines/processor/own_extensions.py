"""The extensions of one processor: operations that its chains alone have."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Collection

from pipelines.contracts import ProcessorExtension
from pipelines.extensions.extension_adapters import ExtensionError, Origin, own_operation
from pipelines.operations.registry import Operation
from pipelines.processor.processing_pool import LentExtension, PoolError


class OwnExtensions:
    """By name; every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._extensions: dict[str, tuple[LentExtension, Operation]] = {}
        self._closed = False

    def register(self, name: str, processor: ProcessorExtension) -> Callable[[], None]:
        """See ``ExtensibleImageProcessor.register_processor_extension``."""
        version = f"run-{uuid.uuid4().hex[:12]}"  # nobody knows what it does, so no other run may use its results
        origin = Origin(name=name, distribution="this program", version=version)
        operation = own_operation(processor, origin)
        with self._lock:
            if self._closed:
                raise PoolError("the processor was shut down")
            if name in self._extensions:
                raise ExtensionError(f"{origin}: {self._extensions[name][0].origin} is loaded already")
            self._extensions[name] = LentExtension(origin, processor), operation

        def undo() -> None:
            with self._lock:
                if name in self._extensions and self._extensions[name][0].origin == origin:
                    del self._extensions[name]

        return undo

    def named(self, names: Collection[str]) -> dict[str, tuple[LentExtension, Operation]]:
        """Those that a chain uses, sorted."""
        with self._lock:
            return {name: self._extensions[name] for name in sorted(self._extensions.keys() & set(names))}

    def operations(self) -> dict[str, Operation]:
        """All of them, as operations."""
        with self._lock:
            return {name: operation for name, (_, operation) in self._extensions.items()}

    def close(self) -> None:
        """Forget them, and take no more."""
        with self._lock:
            self._closed = True
            self._extensions.clear()
