"""How many questions the pages put to the store, whatever the machine and the size of the lists."""

import pytest
import streamlit as st

from tests.counting import counted
from tests.pages.test_pages import Open, calm, open_page
from tests.tiny import SEED0

__all__ = ["open_page"]  # the fixture, found by its name

KINDS = [
    ("browse", [{"q": "a"}, {"q": "e"}], 17, 3),
    ("browse", [{"sort": "rate_final"}, {"sort": "norm_final"}], 17, 3),
    ("browse", [{"where": "rate_final:0.01.."}, {"where": "rate_final:0.02.."}], 17, 3),
    ("browse", [{"view": "map"}, {"view": "map", "q": "a"}], 17, 3),
    ("feature", [{"feature": 1}, {"feature": 2}], 38, 15),
    ("token", [{"token": 270}, {"token": 271}], 34, 11),
]
"""Page, two views, queries at most of a new visitor with nothing kept, who comes to a page by way
of Browse, and of one who goes on."""


@pytest.mark.parametrize(("page", "views", "most", "more"), KINDS)
def test_a_page_asks_few_questions_and_fewer_the_next_time(
    open_page: Open, page: str, views: list[dict], most: int, more: int
) -> None:
    st.cache_data.clear()
    st.cache_resource.clear()
    counts = []
    for view in views:
        with counted() as asked:
            calm(open_page(page, run=SEED0, **view))
        counts.append(len(asked.queries))
    assert 0 < counts[0] <= most
    assert counts[1] <= more
    with counted() as asked:
        calm(open_page(page, run=SEED0, **views[1]))
    assert len(asked.queries) <= 1  # where the store lies, which code to copy names


def test_the_number_of_questions_does_not_grow_with_the_list(open_page: Open) -> None:
    counts = []
    for where in ("feature:0..0", "feature:0..23"):
        calm(open_page("browse", run=SEED0))
        with counted() as asked:
            app = calm(open_page("browse", run=SEED0, where=where))
        counts.append((len(app.dataframe[0].value), len(asked.queries)))
    assert counts[0][0] < counts[1][0]
    assert counts[1][1] <= counts[0][1] + 1
