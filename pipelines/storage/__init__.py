"""Where files lie, and whose they are.

- ``custody`` decides what may be removed or replaced: pure, the record of what the job wrote is an argument.
- ``local_files`` does it on a local file system, and is the only place of the program that does.
"""
