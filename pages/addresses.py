"""What addresses are made of: the pages and the parameters that each of them reads."""

PAGES = {
    "browse": ("Browse", "browse.py"),
    "feature": ("Feature", "features.py"),
    "token": ("Token", "tokens.py"),
    "reorganisation": ("Births & reorganisation", "reorganisation.py"),
    "decompose": ("Decompose", "decompose.py"),
    "comparison": ("Seeds & scales", "comparison.py"),
    "collections": ("Collections", "lists.py"),
    "runs": ("Runs", "runs.py"),
    "method": ("Method", "method.py"),
}
"""Address, title and file of every page, in the order of the bar."""
LIST = (
    "q", "token_text", "match", "case", "by", "at", "where", "profile", "birth", "alive",
    "legible", "floor", "like", "shape", "change", "lasso", "sort", "order",
)
"""Parameters that say which features Browse lists and in what order; Feature keeps them, so that
its next and previous are those of the list."""
OWN = {
    "browse": (*LIST, "page", "view", "colour", "columns", "strips"),
    "feature": ("feature", "over", "tokens", *LIST),
    "token": ("token", "find", "match", "parts", "near"),
    "reorganisation": ("view", "partner", "peaks", "families", "births", "lives", "change",
                       "figures", "window", "most", "brush"),
    "decompose": ("view", "prompt", "position", "kind", "target", "versus", "rank", "rivals",
                  "hidden", "bars", "alone",
                  "layer", "head", "figures",
                  "metric", "over", "align", "state", "edit", "seed", "more", "cases"),
    "comparison": ("view", "way", "strata", "feature", "other", "there", "prompt", "position",
                   "kind", "target", "versus", "rank", "rivals", "bars", "withheld", "runs", "axis",
                   "births", "labels", "words", "concept", "by", "family", "figures"),
    "collections": ("collection", "with", "tag", "part"),
    "runs": ("model", "kind", "released", "training", "figures"),
    "method": (),
}
"""Parameters that each page reads besides those of `EVERYWHERE`."""
EVERYWHERE = ("run", "step", "charts", "hash")
"""Parameters that every page reads: the run, the step, charts=tables for figures as tables, and
the hash that a copied link carries."""
OF_ONE_RUN = ("feature", "over", "like", "lasso", "page", "hash", "brush", "edit", "other",
              "there")
"""Parameters that mean nothing in another run."""
