"""Cached answers about two dictionaries, of W_E and of W_U; as `pages.answers`."""

import re

import numpy as np
import streamlit as st

from atlas import read_write, read_write_store
from atlas.read_write import Alignment, Lead
from atlas.read_write_store import Side, TokenFamilies
from atlas.records import RunCard
from atlas.store import Store
from pages.answers import at

MOST_FEATURES = 60_000
"""Features of all other seeds together up to which they are read too."""


@st.cache_resource(max_entries=4, show_spinner=False)
def token_families(digest: str, run: str) -> TokenFamilies:
    """Families of the tokens of a run's language model."""
    opened = at(digest)
    return read_write_store.token_families(opened, opened.run(run))


def _families(digest: str, run: str) -> TokenFamilies:
    """The same, kept once for all runs of a model."""
    opened = at(digest)
    model = opened.run(run).model
    return token_families(digest, min(c.run for c in opened.runs() if c.model == model
                                      and c.problem is None))


@st.cache_data(max_entries=32, show_spinner=False)
def side(digest: str, run: str, steps: tuple[int, ...], peak: str, rule: str) -> Side:
    """Courses and peaks of one dictionary at the shared steps."""
    opened = at(digest)
    return read_write_store.side(
        opened, opened.run(run), steps, _families(digest, run), peak, rule
    )


@st.cache_data(max_entries=32, show_spinner=False)
def leads(
    digest: str, write: str, read: str, steps: tuple[int, ...], peak: str, rule: str
) -> tuple[Lead, Lead]:
    """Leads of the families, and of whole dictionaries, each with interval and null."""
    writes, reads = (side(digest, run, steps, peak, rule) for run in (write, read))
    u = read_write.log_time(steps)
    return (
        read_write.leads(writes.families, reads.families, writes.everyone, reads.everyone, u),
        read_write.lead_of_all(writes.everyone, reads.everyone, u),
    )


@st.cache_data(max_entries=256, show_spinner=False)
def aligned(digest: str, run: str, step: int) -> tuple[Alignment, Alignment]:
    """How well the matrices turn into each other at a step, and shuffled rows do."""
    opened = at(digest)
    return read_write_store.aligned(opened, opened.run(run), step)


def other_seeds(store: Store, card: RunCard) -> list[RunCard]:
    """Readable runs whose id differs from this one's in the seed alone."""
    def stem(run: str) -> str:
        return re.sub(r"seed\d+$", "seed", run)

    return [c for c in store.runs() if stem(c.run) == stem(card.run) and c.run != card.run
            and c.steps == card.steps and c.problem is None]


def seed_range(
    pairs: list[tuple[Side, Side]], steps: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Smallest and largest difference over pairs of seeds, write and read, (F + 1,); last that of
    whole dictionaries. None of a single pair."""
    if len(pairs) < 2:
        return None
    u = read_write.log_time(steps)
    found = []
    for write, read in pairs:
        both = [np.vstack([one.families, one.everyone]) for one in (write, read)]
        few = np.minimum(*(c.sum(axis=1) for c in both)) < read_write.LEAST
        gap = read_write.medians(both[0], u) - read_write.medians(both[1], u)
        found.append(np.where(few, np.nan, gap))
    stacked = np.stack(found)
    return stacked.min(axis=0), stacked.max(axis=0)
