"""What is computed: image operations, analyses, charts, files and tables.

    file -> decode -> operations -> image -> analyses -> arrays and numbers
                                      |                     |        |
                                   encoded file          charts    table rows

Pure functions on arrays; Ray appears only in the ``ray_*`` modules, at the package's edge.
"""

from __future__ import annotations

from pipelines.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
