"""How far the page of a feature may be believed."""

import streamlit as st

from atlas import markup
from atlas.records import FeatureCard
from pages import shared


def draw(view: shared.Here, card: FeatureCard) -> None:
    """How far the page may be believed."""
    shared.caption("How far to trust this.")
    st.html(markup.definitions(sentences(view, card)))


def sentences(view: shared.Here, card: FeatureCard) -> list[tuple[str, str]]:
    """Pairs of a word and what there is to say."""
    info = card.info
    n_rows = len(view.store.token_texts(view.card.model))
    served = markup.share(info.n_tokens / n_rows, 2)
    found = [("rows served", f"{info.n_tokens:,} of {n_rows:,} ({served}) at one snapshot or more")]
    if info.kind:
        verdict = "passes" if info.legible else "does not pass"
        found.append((
            "kind",
            f"“{info.kind}” holds {markup.share(info.kind_share, 0)} of its strongest firing "
            f"tokens, {info.kind_enrichment:.1f}× its share of the vocabulary, "
            f"{markup.probability(info.kind_p)} after correction for the number of kinds: "
            f"{verdict}",
        ))
    else:
        found.append(("kind", "not available: too few firing tokens, or none share a kind"))
    found.append((
        "its null",
        f"with shuffled tokens {markup.share(view.card.legible_null)} of this run's features "
        f"pass; with the true ones {markup.share(view.card.legible_share)}",
    ))
    if len(card.steps) > 1:
        corrected = (
            "its norm never rises above what noise alone would give"
            if info.birth_floor_step is None
            else f"step {info.birth_floor_step:,} once the norm that noise alone would give is "
            "taken off"
        )
        found.append((
            "birth",
            f"{corrected}; step {markup.step_name(info.birth_step)} by the plain rule, half the "
            "largest norm",
        ))
    found.append(("its index", "means nothing in another run; seeds number their features anew"))
    return found
