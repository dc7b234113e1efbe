"""Tokens of a language model by what is typed: exact, whole word, beginning or any part."""

import pandas as pd

from atlas.errors import InvalidValue
from atlas.queries import MAX_LIMIT, encodable
from atlas.store import Store

ANY = "any"
MATCHES = {
    ANY: "true",
    "exact": "is_it",
    "word": "is_it OR is_word",
    "prefix": "starts",
    "substring": "holds",
}
"""Ways to match. A whole word ignores case and the space before it, a part ignores case; a leading
space counts in all others. `any` takes all of them, the closest first."""

_SEARCH = """
    WITH seen AS (
        SELECT token, text, n_train,
               coalesce(plain = $plain, false) OR text = $shown AS is_it,
               coalesce(lower(trim(plain)) = lower(trim($plain)), false) AS is_word,
               coalesce(starts_with(plain, $plain), false) OR starts_with(text, $shown) AS starts,
               coalesce(contains(lower(plain), lower($plain)), false)
                   OR contains(lower(text), lower($shown)) AS holds
        FROM catalog.token WHERE model = $model)
    SELECT token, text, n_train,
           CASE WHEN is_it THEN 0 WHEN is_word THEN 1 WHEN starts THEN 2 ELSE 3 END AS rank
    FROM seen WHERE (is_it OR is_word OR starts OR holds) AND ({match})
    ORDER BY rank, n_train DESC NULLS LAST, token LIMIT $limit"""
_COMMON = """
    SELECT token, text, n_train FROM catalog.token
    WHERE model = $model ORDER BY n_train DESC NULLS LAST, token LIMIT $limit"""


def find_tokens(
    store: Store, run: str, text: str, match: str = ANY, limit: int = 30
) -> pd.DataFrame:
    """token, text, n_train of the tokens that match, the closest first, then the most frequent.

    A typed ␣ is a space; the empty text gives the most frequent tokens. `#17` is the token 17.

    Raises:
        InvalidValue: no such way to match.
    """
    if match not in MATCHES:
        raise InvalidValue(f"{match!r} is no way to match; use one of {', '.join(MATCHES)}")
    model, most = store.run(run).model, min(limit, MAX_LIMIT)
    if not text:
        return store.ask(run, _COMMON, model=model, limit=most).to_pandas()
    if text[0] == "#" and text[1:].isascii() and text[1:].isdecimal():
        return _by_id(store, model, int(text[1:13]))
    plain = encodable(text).replace("␣", " ")
    found = store.ask(
        run, _SEARCH.replace("{match}", MATCHES[match]), model=model, plain=plain,
        shown=plain.replace(" ", "␣"), limit=most,
    )
    return found.to_pandas().drop(columns="rank")


def _by_id(store: Store, model: str, token: int) -> pd.DataFrame:
    texts = store.token_texts(model)
    held = [(token, texts[token])] if token < len(texts) else []
    return pd.DataFrame(
        {"token": [t for t, _ in held], "text": [x for _, x in held], "n_train": [None] * len(held)}
    )
