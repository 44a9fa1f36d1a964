"""What a job still has to compute: the products it wants against the products that its inputs have.

A product is the image, one analysis or one chart; its digest covers everything that decides its bytes. So a job with
one analysis more computes only that one, a job with fewer computes nothing, and a new look renders again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from actors.job_ledger import JobLedger, Products, make_stale, outputs_from_json

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
    """Make ``wanted`` the job's products: drop what is stale, and open the inputs that lack something again."""
    before = ledger.fact("products", {})
    if before == dict(wanted):
        return
    for number, recipe in ledger.recipes().items():
        surviving = surviving_products(recipe, wanted)
        if surviving != recipe:
            _shrink_recipe(ledger, number, surviving)
    recipes = ledger.recipes()
    with ledger.transaction() as db:
        lacking = [
            combination
            for (combination,) in db.execute(
                "SELECT DISTINCT (SELECT group_concat(recipe) FROM work WHERE input = inputs.id) FROM inputs"
                " WHERE status = 'done'"
            ).fetchall()
            if missing_products(wanted, [recipes[int(n)] for n in combination.split(",")] if combination else [])
        ]
        for combination in lacking:
            db.execute(
                "UPDATE inputs SET status = NULL, degraded = NULL WHERE status = 'done'"
                " AND (SELECT group_concat(recipe) FROM work WHERE input = inputs.id) IS ?",
                (combination,),
            )
        # What failed may succeed under another plan, but not under one that merely asks for less, unless what it asks
        # for no more was the trouble. What the plan itself refused (no name) stays refused.
        asks_for_less = all(before.get(product) == digest for product, digest in wanted.items())
        of_products = " AND reason IN ('analysis_error', 'chart_error')" if asks_for_less else ""
        db.execute(
            "UPDATE inputs SET status = NULL, reason = NULL, message = NULL"
            f" WHERE status IN ('failed', 'skipped') AND name IS NOT NULL{of_products}"
        )
    ledger.put_facts(products=dict(wanted))


def _shrink_recipe(ledger: JobLedger, number: int, surviving: Products) -> None:
    """Move the work of a recipe to the recipe of what is left of it."""
    target = ledger.recipe_id(surviving) if surviving else None
    with ledger.transaction() as db:
        rows = db.execute("SELECT input, part, row, outputs FROM work WHERE recipe = ?", (number,)).fetchall()
        if target is None:
            for _, _, _, outputs in rows:
                make_stale(db, outputs_from_json(outputs))
            db.execute("DELETE FROM work WHERE recipe = ?", (number,))
            return
        for source, part, row, text in rows:
            outputs = outputs_from_json(text)
            make_stale(db, [o for o in outputs if o.product not in surviving])
            kept = [[o.product, o.path, o.sha256, o.bytes] for o in outputs if o.product in surviving]
            db.execute("DELETE FROM work WHERE input = ? AND recipe = ?", (source, number))
            db.execute(
                "INSERT OR REPLACE INTO work VALUES (?, ?, ?, ?, ?)", (source, target, part, row, json.dumps(kept))
            )


def _analysis_name(product: str) -> str:
    """The analysis' name in ``analysis:["name",{...}]``, or the product itself."""
    return str(json.loads(product.removeprefix(ANALYSIS))[0]) if product.startswith(ANALYSIS) else product
