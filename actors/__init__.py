"""Who remembers: queue, ledger, resources, caches, and the actor that carries their messages.

driver -> TaskCoordinator (actor) -> TaskQueue (pure: event in, decisions out)
   |
   +---> Ledger (SQLite, the only durable truth; every actor is a cache of one)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.lazy_names import lazy_names

if TYPE_CHECKING:
    from actors.disk_cache import DiskCache as DiskCache
    from actors.memory_manager import MemoryManager as MemoryManager
    from actors.performance_monitor import PerformanceMonitor as PerformanceMonitor
    from actors.priority_scheduler import PriorityScheduler as PriorityScheduler
    from actors.resource_manager import ResourceManager as ResourceManager
    from actors.task_coordinator import TaskCoordinator as TaskCoordinator
    from actors.task_queue import TaskQueue as TaskQueue

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "DiskCache": "actors.disk_cache",
        "MemoryManager": "actors.memory_manager",
        "PerformanceMonitor": "actors.performance_monitor",
        "PriorityScheduler": "actors.priority_scheduler",
        "ResourceManager": "actors.resource_manager",
        "TaskCoordinator": "actors.task_coordinator",
        "TaskQueue": "actors.task_queue",
    },
)
