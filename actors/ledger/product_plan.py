"""What a job still has to compute: the products it wants against the products that its inputs have.

A product is the image, one analysis or one chart; its digest covers everything that decides its bytes. So a job with
one analysis more computes only that one, a job with fewer computes nothing, and a new look renders again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import replace

from actors.ledger.job_ledger import JobLedger
from actors.ledger.ledger_rows import Products
from actors.ledger.work_record import keep_products, recipe_of

IMAGE = "image"
ANALYSIS = "analysis:"
CHART = "chart:"


def missing_products(wanted: Products, have: list[Mapping[str, str]]) -> dict[str, str]:
    """The wanted products that none of the recipes gave."""
    return {
        product: digest
        for product, digest in wanted.items()
        if not any(recipe.get(product) == digest for recipe in have)
    }


def surviving_products(recipe: Products, wanted: Products) -> dict[str, str]:
    """What of a recipe's products is kept under a new plan.

    Wanted ones are. So are analyses that are merely not asked for any more: their numbers stay in the store, in case
    they are asked for again. Images and charts that aren't wanted go, and so does whatever has another digest now.
    """
    if not any(wanted.get(product) == digest for product, digest in recipe.items()):
        return {}
    names = {_analysis_name(product) for product in wanted}
    return {
        product: digest
        for product, digest in recipe.items()
        if wanted.get(product) == digest or (product.startswith(ANALYSIS) and _analysis_name(product) not in names)
    }


def apply_products(ledger: JobLedger, wanted: Products) -> None:
    """Make ``wanted`` the job's products: drop what is out of date, and open the inputs that lack something.

    Open inputs that lack nothing, since they were only left out for a while, are done.
    """
    before = ledger.facts.read().products
    if before != dict(wanted):
        for number, recipe in ledger.recipes().items():
            surviving = surviving_products(recipe, wanted)
            if surviving != recipe:
                _shrink_recipe(ledger, number, surviving)
    recipes = ledger.recipes()
    with ledger.transaction() as db:
        _settle(db, wanted, recipes, "" if before == dict(wanted) else "status = 'done' OR ")
        if before == dict(wanted):
            return
        # What failed may succeed under another plan, but not under one that merely asks for less, unless what it asks
        # for no more was the trouble. What the plan itself refused (no name) stays refused.
        asks_for_less = all(before.get(product) == digest for product, digest in wanted.items())
        of_products = " AND reason IN ('analysis_error', 'chart_error')" if asks_for_less else ""
        db.execute(
            "UPDATE inputs SET status = NULL, reason = NULL, message = NULL"
            f" WHERE status IN ('failed', 'skipped') AND NOT by_plan{of_products}"
        )
    ledger.facts.write(replace(ledger.facts.read(), products=dict(wanted)))


def carry_products(ledger: JobLedger, number: int, products: Products, is_untouched: Callable[[bytes], bool]) -> int:
    """Let what inputs have under a recipe count as ``products``, of those that ``is_untouched`` says so of by path.

    Inputs of the list that were done, as they were promised, are asked; returns how many carry it.
    """
    with ledger.transaction() as db:
        asked = db.execute(
            "SELECT input, path FROM work JOIN inputs ON inputs.id = input WHERE recipe = ? AND seq IS NOT NULL"
            " AND degraded IS NULL",
            (number,),
        ).fetchall()
        carried = [source for source, path in asked if is_untouched(path)]
        if carried:
            renewed = recipe_of(db, products)
            db.executemany(
                "UPDATE OR REPLACE work SET recipe = ? WHERE input = ? AND recipe = ?",
                [(renewed, source, number) for source in carried],
            )
    return len(carried)


def _settle(db: sqlite3.Connection, wanted: Products, recipes: Mapping[int, Products], also: str) -> None:
    """Done are the inputs that have every product; those that were done and lack one are open."""
    for (combination,) in db.execute(
        f"SELECT DISTINCT {_RECIPES_OF_INPUT} FROM inputs WHERE {also}(status IS NULL AND"
        " EXISTS (SELECT 1 FROM work WHERE input = inputs.id))"
    ).fetchall():
        missing = missing_products(wanted, [recipes[int(n)] for n in combination.split(",")] if combination else [])
        change = "status = NULL, degraded = NULL WHERE status = 'done'" if missing else _DONE
        db.execute(f"UPDATE inputs SET {change} AND {_RECIPES_OF_INPUT} IS ?", (combination,))


_RECIPES_OF_INPUT = "(SELECT group_concat(recipe) FROM work WHERE input = inputs.id)"
_DONE = "status = 'done' WHERE status IS NULL"


def _shrink_recipe(ledger: JobLedger, number: int, surviving: Products) -> None:
    """Reduce a recipe, for all inputs that have it, to what is left of it; files of the rest are kept."""
    dropped = [product for product in ledger.recipes()[number] if product not in surviving]
    with ledger.transaction() as db:
        for (source,) in db.execute("SELECT input FROM work WHERE recipe = ?", (number,)).fetchall():
            db.executemany(
                "UPDATE files SET current = 0 WHERE current = 1 AND input = ? AND product = ?",
                [(source, product) for product in dropped],
            )
            keep_products(db, source, number, surviving.__contains__)


def _analysis_name(product: str) -> str:
    """The analysis' name in ``analysis:["name",{...}]``, or the product itself."""
    return str(json.loads(product.removeprefix(ANALYSIS))[0]) if product.startswith(ANALYSIS) else product
