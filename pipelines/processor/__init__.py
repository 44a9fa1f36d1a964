"""The interactive lane: arrays in, arrays out, on the cluster's CPUs and through a cache.

ExtensibleImageProcessor -> processing_strategies -> ray_pool -> ray_tasks (workers)
        |                                  |- pipelines.admission: leave to work, where a session counts CPUs
        |- render_cache, memory_cache                            `- merging of tiles
"""
