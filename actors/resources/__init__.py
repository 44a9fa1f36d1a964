"""What the machines have, what is left of it, and who may take how much.

resource_manager -> queue.capacity, cluster_view    memory_manager: the ladder after a kill for memory
performance_monitor, host_usage, ray_metrics: what is used    thresholds, disk_space: when to hold back
"""
