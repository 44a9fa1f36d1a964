"""Who remembers: queue, ledger, resources, caches, and the actor that carries their messages.

driver -> TaskCoordinator (actor) -> TaskQueue (pure: event in, decisions out)
   |
   +---> Ledger (SQLite, the only durable truth; every actor is a cache of one)

``home`` is the directory of this account, ``$RAYJOBS_HOME``.
"""

from __future__ import annotations

from pipelines.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
