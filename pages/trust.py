"""How far the page of a feature may be believed."""

import math

import streamlit as st

from atlas import markup
from atlas.records import FeatureCard, FeatureInfo
from atlas.schema import DUPLICATE
from pages import shared

NO_LABEL = {
    "script": "no strong firing token is written in a script that the vocabulary has enough of",
    "supersense": "no strong firing token is a word that WordNet files under one supersense",
}
"""Why a feature with enough firing tokens has no label of a scheme."""


def draw(view: shared.Here, card: FeatureCard, missing: list[tuple[str, str]]) -> None:
    """How far the page may be believed; `missing` are sections and why they show nothing."""
    shared.caption("How far to trust this.")
    st.html(markup.definitions(
        [*sentences(view, card), *_missing(missing), *_data(view)], columns=2
    ))


def _missing(missing: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Which sections have nothing to show, one line for one reason."""
    reasons: dict[str, list[str]] = {}
    for section, reason in missing:
        if reason:
            reasons.setdefault(reason.rstrip("."), []).append(section)
    if not reasons:
        return [("missing", "nothing: every section of this page has its data")]
    return [("missing", f"{', '.join(names)}: {reason}") for reason, names in reasons.items()]


def _data(view: shared.Here) -> list[tuple[str, str]]:
    """Which data the page was drawn from, for a citation."""
    return [("its data", f"hash `{view.card.hash[:12]}` of the run, built {view.card.created}")]


def _explained(info: FeatureInfo) -> tuple[str, str]:
    """How well the whole dictionary explains the rows that the feature serves."""
    if math.isnan(info.rows_explained):
        why = (
            "the feature is dead" if not info.alive
            else "it fires on none of them then" if info.rate_final == 0
            else "the store was built without it"
        )
        return "explained", f"not available, because {why}"
    return "explained", (
        f"the whole dictionary explains {markup.share(info.rows_explained)} of these rows at the "
        "last snapshot, weighted by the feature's activation"
    )


def sentences(view: shared.Here, card: FeatureCard) -> list[tuple[str, str]]:
    """Pairs of a word and what there is to say."""
    info = card.info
    n_rows = len(view.store.token_texts(view.card.model))
    served = markup.share(info.n_tokens / n_rows, 2)
    found = [
        ("rows served", f"{info.n_tokens:,} of {n_rows:,} ({served}) at one snapshot or more"),
        _explained(info),
    ]
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
    found += [*_labels(info), *_duplicates(info)]
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
    if view.card.cut:
        found.append(("its code", view.card.cut))
    found.append(("its index", "means nothing in another run; seeds number their features anew"))
    return found


def _labels(info: FeatureInfo) -> list[tuple[str, str]]:
    """Script and supersense of the strongest firing tokens, with how sure they are."""
    if info.alive and math.isnan(info.script_coverage) and math.isnan(info.supersense_coverage):
        return [("script", "not available: too few firing tokens")]
    found = []
    for scheme in ("script", "supersense"):
        name = getattr(info, scheme)
        share, times, p, covered = (
            getattr(info, f"{scheme}_{part}") for part in ("share", "enrichment", "p", "coverage")
        )
        if name:
            said = (
                f"“{name}” holds {markup.share(share, 0)} of its strongest firing tokens, "
                f"{times:.1f}× its share of the vocabulary, {markup.probability(p)} after "
                f"correction for the number of {scheme}s"
            )
            if scheme == "supersense":
                said += f"; {markup.share(covered, 0)} of them have any (WordNet)"
            found.append((scheme, said))
        elif not math.isnan(covered):
            found.append((scheme, f"none: {NO_LABEL[scheme]}"))
    return found


def _duplicates(info: FeatureInfo) -> list[tuple[str, str]]:
    """Features that point the same way at the end."""
    if info.n_duplicates is None or not info.alive:
        return []
    if not info.n_duplicates:
        nearest = markup.number(info.nearest, 2)
        return [("duplicates", f"none: its nearest feature has cosine {nearest}, below "
                               f"{DUPLICATE}")]
    many = f"{info.n_duplicates} live features" if info.n_duplicates > 1 else "one live feature"
    return [("duplicates", f"{many} at cosine {DUPLICATE} or more with its last direction, "
                           f"{info.duplicate_of:,} the nearest")]
