"""The list as text to take away: one SQL query for the run's own file, or a few lines of Python.

Values are written as literals, quoted so that no text can end one; names come from our tables.
"""

import re
from typing import Any

from atlas.measures import LIKENESS
from atlas.searches import TOKENS, reading
from atlas.selections import edges_of, question
from atlas.store import Store
from atlas.token_search import drawn, matching_tokens
from atlas.wishes import EXACT, FIRES, PROMOTES, Wish, parameters_of

ALIAS = "atlas"
"""Name under which the text attaches the run's file."""
CATALOG = "SELECT path FROM duckdb_databases() WHERE database_name = 'catalog'"

TEXT = """(f.feature IN (
    SELECT feature FROM (SELECT feature, unnest(label) AS token FROM {run}.feature)
    WHERE token IN (SELECT token FROM catalog.token
                    WHERE model = $model AND contains(lower(text), lower($drawn))))
  OR contains(lower(f.profile), lower($sought)) OR contains(lower(f.kind), lower($sought))
  OR contains(lower(f.script), lower($sought)) OR contains(lower(f.family), lower($sought))
  OR contains(lower(f.supersense), lower($sought)))"""
PROMOTED = """SELECT feature FROM {run}.token_index
    WHERE token IN (SELECT unnest($tokens::INTEGER[]))"""
FIRED = """SELECT unnest(features) AS feature FROM {run}.code_by_token
    WHERE token IN (SELECT unnest($tokens::INTEGER[]))"""
FIRED_AT = """SELECT entry.feature FROM (
        SELECT unnest(features) AS feature, unnest(p) AS p FROM {run}.code_by_token
        WHERE token IN (SELECT unnest($tokens::INTEGER[]))) AS entry
    JOIN {run}.feature AS g USING (feature) JOIN {run}.life AS m USING (feature)
    WHERE entry.p * m.norm[$k] > g.threshold"""


def sql_of(store: Store, run: str, k: int, wish: Wish) -> str:
    """A text for the `duckdb` shell, started in the store's folder, that lists the same features.

    Columns: the order's value as `measure`, then all columns of the feature table.
    """
    card = store.run(run)
    asked = question(store, run, k, wish, whole=True)
    conditions = [] if asked.condition == "true" else [_written(asked.condition, asked.values)]
    extras = _texts(store, run, k, wish)
    conditions += [_written(extra, {**asked.values, **values}) for extra, values in extras]
    if wish.lasso:
        conditions.append(_inside(wish.lasso))
    columns = _written(f"SELECT {asked.order.measure.expression} AS measure, f.*", asked.values)
    end = "DESC" if asked.order.descending else "ASC"
    own = "n.place" if asked.order.measure is LIKENESS else "f.feature"
    sql = "\n".join([
        columns,
        f"FROM {_written(asked.source, asked.values)}",
        *(f"{'AND' if i else 'WHERE'} {c}" for i, c in enumerate(conditions)),
        f"ORDER BY measure {end} NULLS LAST, {own};",
    ])
    head = [
        f"-- Readout Atlas: {_line(run)}, {len(card.steps)} snapshots, the view at step "
        f"{card.steps[k]}",
        "-- in the folder of the store:  duckdb",
        f"ATTACH {literal(card.file)} AS {ALIAS} (READ_ONLY);",
    ]
    if "catalog." in asked.source or any("catalog." in part for part, _ in extras):
        path = store.ask(run, CATALOG)["path"][0].as_py()
        name = re.split(r"[\\/]", path)[-1]
        head.append(f"ATTACH {literal(name)} AS catalog (READ_ONLY);")
    return "\n".join([*head, sql]) + "\n"


def python_of(store: Store, run: str, k: int, wish: Wish) -> str:
    """Lines of Python that list the same features as a frame, in the project's environment."""
    card = store.run(run)
    return (
        "from atlas import browsing\n"
        "from atlas.places import store_from_environment\n"
        "from atlas.store import Store\n\n"
        "store = Store.open(store_from_environment())  # or the folder of a store\n"
        f"run = {run!r}\n"
        f"wish, problems = browsing.read_wish({parameters_of(wish, card)!r}, store.run(run))\n"
        f"k = {k}  # the snapshot at step {card.steps[k]}\n"
        "rows = browsing.all_rows(store, run, k, wish)\n"
    )


def literal(value: Any) -> str:
    """A value as SQL text: a quoted string, a number, or a list of them."""
    if isinstance(value, str):
        return "'" + value.replace("\0", "").replace("'", "''") + "'"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(literal(v) for v in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(
        float(value))


def _written(sql: str, values: dict[str, Any]) -> str:
    """The text with its bound values as literals; what a literal holds is not looked at again."""
    named = sql.replace("{run}", ALIAS)
    return re.sub(r"\$([a-z_0-9]+)", lambda m: literal(values[m[1]]), named)


def _texts(store: Store, run: str, k: int, wish: Wish) -> list[tuple[str, dict[str, Any]]]:
    """The conditions that `atlas.searches.mask` finds in arrays, as SQL with values."""
    found: list[tuple[str, dict[str, Any]]] = []
    way, sought = reading(wish.text)
    if way == "index":
        found.append(("f.feature = $wanted", {"wanted": int(sought[:12])}))
    elif way == "text":
        model = store.run(run).model
        found.append((TEXT, {"model": model, "sought": sought, "drawn": drawn(sought)}))
    elif way == "token":
        tokens = matching_tokens(store, run, sought, EXACT)
        found.append((_of_tokens(PROMOTED, FIRED), {"tokens": tokens[:TOKENS].tolist()}))
    if wish.token_text:
        tokens = matching_tokens(
            store, run, wish.token_text, wish.token_match, wish.ignore_case)[:TOKENS]
        promoted = PROMOTED + (" AND (snapshots >> ($k - 1)) & 1 = 1" if wish.token_at_step else "")
        prism = store.run(run).kind == "prism"
        fired = FIRED_AT if wish.token_at_step and not prism else FIRED
        chosen = [sql for sql, other in ((promoted, FIRES), (fired, PROMOTES))
                  if wish.token_by != other]
        found.append((_of_tokens(*chosen), {"tokens": tokens.tolist()}))
    return found


def _of_tokens(*chosen: str) -> str:
    return "f.feature IN (\n    " + "\n    UNION ALL ".join(chosen) + ")"


def _inside(corners: tuple[tuple[float, float], ...]) -> str:
    """Whether the place on the map lies inside a polygon: the parity of the edges to its right."""
    edges = [
        f"(({y1} > f.map_y) <> ({y2} > f.map_y) AND f.map_x < "
        f"({x2 - x1!r}) * (f.map_y - ({y1})) / ({y2 - y1!r}) + ({x1}))::INTEGER"
        for x1, y1, x2, y2 in edges_of(corners)
    ]
    return f"coalesce(({' + '.join(edges) or '0'}) % 2 = 1, false)"


def _line(text: str) -> str:
    return " ".join(text.split())
