"""Who remembers: queue, ledger, resources, caches, and the actor that carries their messages.

driver -> TaskCoordinator (actor) -> TaskQueue (pure: event in, decisions out)
   |
   +---> Ledger (SQLite, the only durable truth; every actor is a cache of one)
"""
