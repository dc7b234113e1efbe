"""Labels of features: the script, family and supersense of their strongest firing tokens.

A scheme is a set of labels, each a mask over the vocabulary: scripts and supersenses share the
tokens out, families overlap (crosscoder-method §13.1, §13.2, §13.4). The label of a feature is
the one its 50 strongest firing tokens have most surely in common; how surely, against the
vocabulary's own shares, is always beside it (§13.6). The record labels by the largest share
alone, which names almost everything "ASCII".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from atlas.enrichment import MIN_FIRING, MIN_LABEL, Enrichment
from atlas.supersenses import supersense_masks
from atlas.vocabulary import families, script

N_TOP = 50
"""Strongest firing tokens that a label is of (§13.6)."""
MIN_SHARE = 0.35
"""A label that holds this share of them goes before any that does not (§13.6)."""
SCHEMES = ("script", "family", "supersense")


@dataclass(frozen=True, eq=False)
class Labels:
    """The best label of every feature in one scheme; arrays are (D,)."""

    name: np.ndarray
    """str; '' for a feature of fewer than five firing tokens, or none of them with a label."""
    share: np.ndarray
    """Share of the strongest firing tokens that have the label; nan without one."""
    enrichment: np.ndarray
    """That share over the label's share of the vocabulary; nan without one."""
    p_value: np.ndarray
    """Hypergeometric tail, times the number of labels tried, at most 1; nan without one."""
    coverage: np.ndarray
    """Share of the strongest firing tokens that have any label; nan for fewer than five."""


def scheme_masks(raw: Sequence[bytes]) -> dict[str, dict[str, np.ndarray]]:
    """Scheme to label to the bool (V,) of its tokens, of raw bytes by token id.

    A row without bytes, padding, has no label.
    """
    known = np.array([bool(r) for r in raw])
    texts = [r.decode("utf8", "replace") for r in raw]
    scripts = np.array([script(text) for text in texts])
    sets = [families(text) for text in texts]
    return {
        "script": {name: known & (scripts == name) for name in sorted(set(scripts[known]))},
        "family": {
            name: known & np.array([name in found for found in sets])
            for name in sorted(set().union(*sets))
        },
        "supersense": supersense_masks(raw),
    }


def best_labels(
    top: np.ndarray, labels: Mapping[str, np.ndarray], allowed: np.ndarray
) -> Labels:
    """The best label of features whose strongest firing tokens are top (D, n), -1 at the end.

    Of the labels that at least 0.35 of the tokens have, and no fewer than the vocabulary would
    give, the one of the smallest hypergeometric tail; where there is none, of all. `allowed` (V,)
    bool is the vocabulary that the tokens are drawn from. A label of fewer than five allowed
    tokens is not tried.
    """
    size = len(top)
    name = np.full(size, "", dtype=object)
    share, enrichment, p_value, coverage = (np.full(size, np.nan) for _ in range(4))
    rows = np.flatnonzero((top >= 0).sum(axis=1) >= MIN_FIRING)
    tried = [n for n, mask in labels.items() if (mask & allowed).sum() >= MIN_LABEL]
    any_label = np.zeros(len(allowed) + 1, dtype=bool)
    for mask in labels.values():
        any_label[:-1] |= mask
    covered = any_label[top[rows]].sum(axis=1)
    coverage[rows] = covered / (top[rows] >= 0).sum(axis=1)
    if len(rows) and tried:
        masks = np.array([labels[n] for n in tried])
        found = Enrichment(masks, allowed, MIN_SHARE, 1.0).best(top[rows])
        held = found.share > 0
        kept = rows[held]
        name[kept] = np.array(tried)[found.label[held]]
        share[kept], enrichment[kept] = found.share[held], found.enrichment[held]
        p_value[kept] = found.p_value[held]
    return Labels(name.astype(str), share, enrichment, p_value, coverage)
