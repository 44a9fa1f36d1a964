"""The command line: words in, lines out; no decision about images is made here.

    program (streams, locale) -> cli (parser) -> running | looking | upkeep | reference -> printing

``waiting`` moves while all that is loaded, ``ray_submit`` hands a job to a cluster, ``doctor`` looks at the machine,
``new_plugin`` writes a package to begin with, and ``json_outputs`` is what programs may rely on.
"""
