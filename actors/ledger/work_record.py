"""What was made of an input under which recipe: statements on the tables ``work`` and ``recipes`` of a job's ledger.

Each is part of its caller's transaction. A recipe is a set of products, numbered once.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable

from actors.ledger.ledger_rows import Products


def drop_work(db: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Forget all products of inputs; their files are kept, as no product's. Part of the caller's transaction."""
    for number in numbers:
        db.execute("UPDATE files SET current = 0 WHERE current = 1 AND input = ?", (number,))
        db.execute("DELETE FROM work WHERE input = ?", (number,))


def keep_products(db: sqlite3.Connection, number: int, recipe: int, kept: Callable[[str], bool]) -> None:
    """Reduce an input's work under a recipe to the products that are kept. Part of the caller's transaction."""
    (text,) = db.execute("SELECT products FROM recipes WHERE id = ?", (recipe,)).fetchone()
    products = json.loads(text)
    surviving = {product: digest for product, digest in products.items() if kept(product)}
    if surviving == products:
        return
    part, row = db.execute("SELECT part, row FROM work WHERE input = ? AND recipe = ?", (number, recipe)).fetchone()
    db.execute("DELETE FROM work WHERE input = ? AND recipe = ?", (number, recipe))
    if not surviving:
        return
    if not any(product.startswith("analysis:") for product in surviving):
        part = row = None
    db.execute("INSERT OR REPLACE INTO work VALUES (?, ?, ?, ?)", (number, recipe_of(db, surviving), part, row))


def recipe_of(db: sqlite3.Connection, products: Products) -> int:
    """The number of a set of products, the same for the same set. Part of the caller's transaction."""
    text = json.dumps(dict(products), sort_keys=True)
    db.execute("INSERT OR IGNORE INTO recipes (products) VALUES (?)", (text,))
    return int(db.execute("SELECT id FROM recipes WHERE products = ?", (text,)).fetchone()[0])
