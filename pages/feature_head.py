"""What stands on top of a feature's page: its name, its labels, the way to the next one."""

import math

import streamlit as st

from atlas import markup, stability_markup, strips
from atlas.markup import Fact
from atlas.records import FeatureCard, FeatureInfo
from pages import answers, shared

SCHEMES = ("kind", "script", "family", "supersense")


def draw(view: shared.Here, card: FeatureCard) -> None:
    """Name, kind and strongest tokens; the numbers at the right; below them the labels."""
    info = card.info
    if info.legible and info.kind:
        kind = (
            f"{info.kind}, {markup.share(info.kind_share, 0)}, {info.kind_enrichment:.0f}× chance"
        )
    elif info.alive:
        kind = "no single kind passes the test of legibility"
    else:
        kind = "dead: it fires on at most one in a million (row, snapshot) pairs"
    st.html(
        markup.header("feature", f"{info.feature:,}", info.label, kind, facts(view, card))
        + markup.wrap(labels(info))
        + stability_markup.block(
            answers.stability(view.store.digest, view.run, info.feature))
    )


def facts(view: shared.Here, card: FeatureCard) -> list[Fact]:
    """The numbers of the strip; a run of one snapshot has no life to tell."""
    info = card.info
    meanings = answers.comments(view.store.digest).get("feature", {})

    def fact(name: str, value: str, column: str) -> Fact:
        return Fact(name, value, meanings.get(column, ""))

    rate = fact("final rate", markup.share(info.rate_final, 2), "rate_final")
    contribution = fact("contribution", markup.number(info.contribution, 3), "contribution")
    if len(card.steps) < 2:
        return [rate, contribution]
    born = "never" if info.birth_floor_step is None else markup.step_name(info.birth_floor_step)
    return [
        fact("born", born, "birth_floor_step"),
        fact("peak", markup.step_name(info.peak_step), "peak_step"),
        fact("final norm", markup.number(info.norm_final, 2), "norm_final"),
        rate,
        fact("turn", markup.number(info.max_rotation, 2), "max_rotation"),
        contribution,
        fact("profile", info.profile or "not available", "profile"),
    ]


def labels(info: FeatureInfo) -> str:
    """The labels with their p, or why there are none."""
    found = [
        strips.Label(
            scheme, getattr(info, scheme), getattr(info, f"{scheme}_share"),
            getattr(info, f"{scheme}_enrichment"), getattr(info, f"{scheme}_p"),
        )
        for scheme in SCHEMES
        if getattr(info, scheme) and not math.isnan(getattr(info, f"{scheme}_p"))
    ]
    if not found:
        return '<div class="atl-labels"><span class="weak">No labels: fewer than five firing ' \
               "tokens.</span></div>"
    return strips.labels(found)
