"""SQL text of the store's questions. Values are bound; no word of it comes from a user.

`{run}` is replaced by the alias of an attached run file, a name this project makes up. What
Browse asks is in `atlas.selections` and the files around it.
"""

MAX_LIMIT = 500
"""Rows that a question is answered with at most."""

RUNS = "SELECT * FROM catalog.run ORDER BY run"
MODEL_TEXTS = "SELECT text FROM catalog.token WHERE model = $model ORDER BY token"
TOKEN = "SELECT * FROM catalog.token WHERE model = $model AND token = $token"
BIRTHS = "SELECT * EXCLUDE (run) FROM catalog.run_snapshot WHERE run = $name ORDER BY k"
FIDELITY = "SELECT run, k, step, explained_variance, l0 FROM catalog.run_snapshot ORDER BY run, k"
META = "SELECT key, value FROM {run}.meta"
COMMENTS = """
    SELECT table_name, column_name, comment FROM duckdb_columns()
    WHERE database_name = $database AND comment IS NOT NULL ORDER BY table_name, column_index"""

# A join of two wide tables takes longer to plan than two questions take to answer.
FEATURE = "SELECT * FROM {run}.feature WHERE feature = $feature"
LIFE = """
    SELECT norm, rate, rotation, to_terminal, contribution FROM {run}.life
    WHERE feature = $feature"""
PROMOTED = """
    SELECT k, tokens, cosines, suppressed, suppressed_cosines FROM {run}.promoted
    WHERE feature = $feature"""
FIRING = """
    SELECT tokens[:$limit] AS tokens, p[:$limit] AS p, histogram, p_low, p_high
    FROM {run}.code_by_feature WHERE feature = $feature"""
NEIGHBOURS = "SELECT ids, cosines FROM {run}.neighbour WHERE feature = $feature"
NAMES = """
    SELECT feature, label, profile FROM {run}.feature
    WHERE list_contains($features::INTEGER[], feature)"""

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


def encodable(text: str) -> str:
    """The text without lone surrogates, which no UTF-8 column can hold or match."""
    return text.encode("utf8", "replace").decode("utf8")
