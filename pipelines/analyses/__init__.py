"""Analyses: pure functions array -> named columns, by name in ``ANALYSES``.

scopes.py      the six scopes of the colourist         statistics.py  numbers per channel
sharpness.py, noise.py, texture.py                     objects.py     one row per object
image_hash.py  perceptual hashes and duplicate groups  calculator.py  several analyses, shared passes
"""
