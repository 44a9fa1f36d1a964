"""The interactive lane: arrays in, arrays out, on the cluster's CPUs and through a cache.

ExtensibleImageProcessor -> processing_strategies -> ray_pool -> ray_tasks (workers)
        |- render_cache, memory_cache                            `- merging of tiles
"""
