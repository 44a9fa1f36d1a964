from actors.cache.disk_cache import DiskCache as DiskCache
from actors.coordinator.resource_manager import ResourceManager as ResourceManager
from actors.coordinator.task_coordinator import TaskCoordinator as TaskCoordinator
from actors.queue.priority_scheduler import PriorityScheduler as PriorityScheduler
from actors.queue.task_queue import TaskQueue as TaskQueue
from actors.resources.memory_manager import MemoryManager as MemoryManager
from actors.resources.performance_monitor import PerformanceMonitor as PerformanceMonitor
