"""What is computed: image operations, analyses, charts, files and tables.

    file -> decode -> operations -> image -> analyses -> arrays and numbers
                                      |                     |        |
                                   encoded file          charts    table rows

Pure functions on arrays; Ray appears only in the ``ray_*`` modules, at the package's edge. Beside the folders lies what
they share:

models, column_models, tasks, resources, export_models   values that travel
contracts, registry                       what plug-ins add, and where
resource_needs, provider_units, admission how much of what is asked for, and leave to work
errors, failure_policy, retry_rules, memory_ladder, machine_faults   what goes wrong, and what follows
cache_keys, result_cache, result_codec    when two results are one, and how they are kept
alpha_rules, quantity_texts, text_encoding, lazy_names, closing   small rules of which there is one
ray_bounded_tasks, ray_end   Ray tasks of which so many run at a time, and the end of Ray under who waits for them
cpu_threads, freed_memory, worker_process   the process that the work is done in
kernel_compiler, kernel_cache, kernel_cache_locator   how kernels are compiled, and where they are kept
"""

from __future__ import annotations

from pipelines.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
