"""What features are called: their strongest firing tokens in a line."""

from collections.abc import Iterable

from atlas import queries
from atlas.cards import label_text
from atlas.store import Store


def feature_labels(store: Store, run: str, features: Iterable[int]) -> dict[int, str]:
    """The strongest firing tokens of some features of a run."""
    store = store.pin()
    wanted = [int(feature) for feature in features]
    if not wanted:
        return {}
    texts = store.token_texts(store.run(run).model)
    table = store.ask(run, queries.NAMES, features=wanted)
    return {
        row["feature"]: label_text(row["label"], texts)
        for row in table.select(["feature", "label"]).to_pylist()
    }
