"""The three interfaces that plug-ins implement, as the seed design defines them, and the tables of two of them.

``rayjobs.plugins`` re-exports the interfaces. How plug-ins are found, allowed and isolated: ``extension_manager``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.registry import Registry
from pipelines.resources import ResourceAllocation, ResourceInfo
from pipelines.tasks import ExtensibleTask, TaskResult


class ProcessorExtension(ABC):
    """An operation that a job file uses by name."""

    @abstractmethod
    def process(self, image: NDArray[np.generic], config: dict[str, Any]) -> NDArray[np.generic]:
        """Return the processed image, of the same dtype.

        ``image`` is read-only: uint8, uint16 or float32; (M, N), (M, N, 3) RGB or (M, N, 4) RGBA. ``config`` holds the
        keys that the job file gives, with plain values.
        """

    @abstractmethod
    def get_name(self) -> str:
        """The name in a job file."""

    @abstractmethod
    def get_supported_configs(self) -> list[str]:
        """The keys that ``config`` may have."""

    def get_file_configs(self) -> list[str]:
        """Those of the keys that name a file; what such a file contains decides the result, not where it lies."""
        return []

    def get_pixel_scale(self, config: dict[str, Any]) -> float | None:
        """How many pixels before, along a side, a pixel of the result stands for: 1 when nothing is resized.

        None, unless said otherwise: it isn't known, and lengths can't be given in other units than pixels after it.
        """
        return None

    def get_required_resources(self) -> dict[str, float]:
        """Units that an image holds while it is processed: ``gpu``, or what nodes or a provider have; none by default.

        A job whose stages don't all need them runs the stages apart, so that they are free while images are exported.
        """
        return {}


class ResourceProvider(ABC):
    """A resource that Ray doesn't know: licence tokens, a scanner, memory of a GPU."""

    @abstractmethod
    def get_available_resources(self) -> ResourceInfo:
        """Total and free units."""

    @abstractmethod
    def allocate(self, amount: int) -> ResourceAllocation:
        """Take units; raises when there are not enough."""

    @abstractmethod
    def release(self, allocation: ResourceAllocation) -> None:
        """Give units back; giving them back twice changes nothing."""


class TaskHandler(ABC):
    """Runs tasks of one or several types."""

    @abstractmethod
    def handle_task(self, task: ExtensibleTask) -> TaskResult:
        """Do the work of one task; called in a Ray worker."""

    @abstractmethod
    def get_supported_task_types(self) -> list[str]:
        """The task types that it runs."""


RESOURCES: Registry[ResourceProvider] = Registry("resource")
"""Resources that plug-ins provide, by name."""

TASK_TYPES: Registry[TaskHandler] = Registry("task type")
"""Task types that plug-ins run, with their handlers."""
