"""Who remembers: queue, ledger, resources, caches, and the actor that carries their messages.

driver -> TaskCoordinator (actor) -> TaskQueue (pure: event in, decisions out)
   |
   +---> Ledger (SQLite, the only durable truth; every actor is a cache of one)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.lazy_names import lazy_names

if TYPE_CHECKING:
    from actors.cache.disk_cache import DiskCache as DiskCache
    from actors.coordinator.task_coordinator import TaskCoordinator as TaskCoordinator
    from actors.queue.priority_scheduler import PriorityScheduler as PriorityScheduler
    from actors.queue.task_queue import TaskQueue as TaskQueue
    from actors.resources.memory_manager import MemoryManager as MemoryManager
    from actors.resources.performance_monitor import PerformanceMonitor as PerformanceMonitor
    from actors.resources.resource_manager import ResourceManager as ResourceManager

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "DiskCache": "actors.cache.disk_cache",
        "MemoryManager": "actors.resources.memory_manager",
        "PerformanceMonitor": "actors.resources.performance_monitor",
        "PriorityScheduler": "actors.queue.priority_scheduler",
        "ResourceManager": "actors.resources.resource_manager",
        "TaskCoordinator": "actors.coordinator.task_coordinator",
        "TaskQueue": "actors.queue.task_queue",
    },
)
