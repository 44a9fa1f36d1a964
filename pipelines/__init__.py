"""What is computed: image operations, analyses, charts, files and tables.

    file -> decode -> operations -> image -> analyses -> arrays and numbers
                                      |                     |        |
                                   encoded file          charts    table rows

Pure functions on arrays; Ray appears only in the ``ray_*`` modules, at the package's edge.
"""
