"""SQL text of the store's questions. Values are bound; no word of it comes from a user.

`{run}` is replaced by the alias of an attached run file, a name this project makes up, and
`{order}` by an entry of `SORTS`.
"""

from typing import Any

from atlas.errors import InvalidValue
from atlas.records import Filters, TokenMode
from atlas.schema import RUN_TABLES, table

FEATURE_COLUMNS = tuple(c.name for c in table(RUN_TABLES, "feature").columns)
SORTS = {name: name for name in FEATURE_COLUMNS if name != "label"}
"""Columns that Browse can sort by."""
MAX_LIMIT = 500
"""Rows that Browse returns at most."""

_TOKEN_MATCH = {
    TokenMode.EXACT: "plain = $text OR text = $text",
    TokenMode.PREFIX: "starts_with(plain, $text) OR starts_with(text, $text)",
    TokenMode.SUBSTRING: "contains(lower(plain), lower($text)) OR "
                         "contains(lower(text), lower($text))",
}

SEARCH_TOKENS = """
    SELECT token, text, plain, script, n_train FROM catalog.token
    WHERE model = $model AND ({match}) ORDER BY n_train DESC NULLS LAST, token LIMIT $limit"""

RUNS = "SELECT * FROM catalog.run ORDER BY run"
MODEL_TEXTS = "SELECT text FROM catalog.token WHERE model = $model ORDER BY token"
TOKEN = "SELECT * FROM catalog.token WHERE model = $model AND token = $token"
BIRTHS = "SELECT * EXCLUDE (run) FROM catalog.run_snapshot WHERE run = $name ORDER BY k"
FIDELITY = "SELECT run, k, step, explained_variance, l0 FROM catalog.run_snapshot ORDER BY run, k"
META = "SELECT key, value FROM {run}.meta"
COMMENTS = """
    SELECT table_name, column_name, comment FROM duckdb_columns()
    WHERE database_name = $database AND comment IS NOT NULL ORDER BY table_name, column_index"""

COUNT = "SELECT count(*) AS n FROM {run}.feature WHERE {where}"
BROWSE = """
    WITH page AS (
        SELECT * FROM {run}.feature WHERE {where} ORDER BY {order} LIMIT $limit OFFSET $offset)
    SELECT page.*, life.norm FROM page JOIN {run}.life AS life USING (feature) ORDER BY {order}"""

FEATURE = """
    SELECT feature.*, norm, rate, rotation, to_terminal, life.contribution AS mean_contribution
    FROM {run}.feature AS feature JOIN {run}.life USING (feature) WHERE feature = $feature"""
PROMOTED = """
    SELECT tokens, cosines, suppressed, suppressed_cosines FROM {run}.promoted
    WHERE feature = $feature ORDER BY k"""
FIRING = """
    SELECT tokens[:$limit] AS tokens, p[:$limit] AS p FROM {run}.code_by_feature
    WHERE feature = $feature"""
NEIGHBOURS = """
    WITH pair AS (
        SELECT unnest(ids) AS feature, unnest(cosines) AS cosine,
               generate_subscripts(ids, 1) AS place
        FROM {run}.neighbour WHERE feature = $feature)
    SELECT pair.feature, cosine, label, profile
    FROM pair JOIN {run}.feature AS other ON other.feature = pair.feature ORDER BY place"""

TOKEN_FEATURES = """
    WITH entry AS (
        SELECT unnest(features) AS feature, unnest(p) AS p
        FROM {run}.code_by_token WHERE token = $token)
    SELECT entry.feature, entry.p, label, profile, kind, threshold, norm
    FROM entry JOIN {run}.feature AS f ON f.feature = entry.feature
               JOIN {run}.life AS life ON life.feature = entry.feature ORDER BY entry.feature"""
TOKEN_PROMOTED = """
    SELECT i.feature, label, profile, kind, best_rank, best_k, snapshots
    FROM {run}.token_index AS i JOIN {run}.feature AS f ON f.feature = i.feature
    WHERE token = $token ORDER BY best_rank, i.feature LIMIT $limit"""
CODE_OF_TOKENS = """
    SELECT token, features, p FROM {run}.code_by_token
    WHERE token IN (SELECT unnest($tokens::INTEGER[])) ORDER BY token"""
NORMS_OF_FEATURES = """
    SELECT feature, norm FROM {run}.life
    WHERE feature IN (SELECT unnest($features::INTEGER[])) ORDER BY feature"""
PROMOTED_NULL = """
    SELECT null_q05, null_q50, null_q95, null_overlap FROM {run}.snapshot ORDER BY k"""
STANDARDIZATION = "SELECT scale, mean FROM {run}.snapshot ORDER BY k"
POPULATION = """
    SELECT metric, k, q[1] AS q05, q[2] AS q25, q[3] AS q50, q[4] AS q75, q[5] AS q95
    FROM {run}.population ORDER BY metric, k"""


def token_match(mode: str) -> str:
    """The condition on a token for a mode; InvalidValue names the modes."""
    if mode not in [m.value for m in TokenMode]:
        known = ", ".join(m.value for m in TokenMode)
        raise InvalidValue(f"{mode!r} is no way to search tokens; use one of {known}")
    return _TOKEN_MATCH[TokenMode(mode)]


def order_by(sort: str, descending: bool) -> str:
    """The ORDER BY text for a column; what is not available comes last in both directions."""
    if sort not in SORTS:
        raise InvalidValue(f"cannot sort by {sort!r}; sort by one of {', '.join(SORTS)}")
    return f"{SORTS[sort]} {'DESC' if descending else 'ASC'} NULLS LAST, feature"


def where(filters: Filters, model: str) -> tuple[str, dict[str, Any]]:
    """The WHERE text of a filter, with `{run}` still in it, and its bound values."""
    parts: list[str] = ["true"]
    values: dict[str, Any] = {}
    text = filters.text.strip()
    if text.startswith("#") and text[1:].isdecimal():
        parts.append("feature = $wanted")
        values["wanted"] = min(int(text[1:]), 2**31 - 1)
    elif text:
        parts.append(_TEXT)
        values |= {"text": encodable(text), "model": model}
    if filters.token:
        parts.append(_TOKEN.replace("{match}", token_match(filters.token_mode)
                                    .replace("$text", "$token_text")))
        values |= {"token_text": encodable(filters.token), "model": model}
    if filters.profiles:
        parts.append("list_contains($profiles::VARCHAR[], profile)")
        values["profiles"] = [encodable(p) for p in filters.profiles]
    birth = "birth_floor_step" if filters.floor_corrected else "birth_step"
    if filters.birth_from is not None:
        parts.append(f"{birth} >= $birth_from")
        values["birth_from"] = filters.birth_from
    if filters.birth_to is not None:
        parts.append(f"{birth} <= $birth_to")
        values["birth_to"] = filters.birth_to
    if filters.alive:
        parts.append("alive")
    if filters.legible:
        parts.append("legible")
    if filters.min_rate is not None:
        parts.append("rate_max >= $min_rate")
        values["min_rate"] = filters.min_rate
    return " AND ".join(parts), values


_TEXT = """(contains(lower(kind), lower($text)) OR feature IN (
        SELECT feature FROM (SELECT feature, unnest(label) AS token FROM {run}.feature)
        WHERE token IN (SELECT token FROM catalog.token WHERE model = $model AND
                        (contains(lower(text), lower($text)) OR
                         contains(lower(plain), lower($text))))))"""

_TOKEN = """feature IN (
        WITH wanted AS (SELECT token FROM catalog.token WHERE model = $model AND ({match}))
        SELECT feature FROM {run}.token_index WHERE token IN (FROM wanted)
        UNION SELECT unnest(features) FROM {run}.code_by_token WHERE token IN (FROM wanted))"""


def encodable(text: str) -> str:
    """The text without lone surrogates, which no UTF-8 column can hold or match."""
    return text.encode("utf8", "replace").decode("utf8")
