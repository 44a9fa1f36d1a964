"""What the machines have, what is left of it, and who may take how much.

driver_resources -> holdings -> queue.capacity    memory_manager: what images may take
performance_monitor, host_usage, ray_metrics: what is used    thresholds, disk_space: when to hold back
"""
