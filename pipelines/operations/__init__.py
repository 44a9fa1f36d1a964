"""Operations: pure functions array -> array, by name in ``OPERATIONS``.

tone.py      what a pixel's value becomes          colour.py    what a pixel's colour becomes
filters.py   what a pixel's surroundings do to it  geometry.py  where a pixel goes
"""
