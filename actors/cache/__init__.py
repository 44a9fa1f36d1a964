"""Results by content and recipe, on disk, bounded, shared by the processes of a machine.

disk_cache -> cache_entry (one checked file)
"""
