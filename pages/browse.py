"""Browse: which features are there? Searched, narrowed, ranked; as a table and on a map."""

import streamlit as st

from atlas.browsing import Page
from pages import (
    answers,
    browse_filters,
    browse_listing,
    browse_map,
    browse_strips,
    browse_table,
    keeping,
    shared,
)
from pages.browse_listing import Listing
from pages.browse_table import ROWS


def main() -> None:
    """Draw the page."""
    view = shared.here()
    listing = browse_listing.read(view)
    shared.settle(view, "browse")
    for problem in listing.problems:
        shared.say(problem, "bad")
    meanings = answers.comments(view.store.digest).get("feature", {})
    browse_filters.draw(listing, meanings)
    browse_filters.draw_chips(listing)
    browse_strips.draw(listing, meanings)
    page, columns, number = found(listing)
    asked = st.query_params.get("page")
    if asked is not None and shared.whole(asked) != number:
        last = max(1, -(-page.total // ROWS))
        there = f"the pages 1 to {last:,}" if last > 1 else "one page"
        shared.say(f"There is no page “{shared.clip(asked)}”: this list has {there}. The first one "
                   "is shown.", "bad")
        shared.settle(view, "browse", page=None)
    for note in page.notes:
        shared.say(note)
    if not listing.on_map:
        draw_list(listing, page, columns, number, meanings)
        return
    left, right = st.columns((11, 9), gap="medium")
    with left:
        browse_map.draw(listing, meanings)
    with right:
        draw_list(listing, page, columns, number, meanings)


def found(listing: Listing) -> tuple[Page, tuple[str, ...], int]:
    """The page of the list, its columns and its number; the first page where there is no such."""
    view = listing.view
    columns = browse_table.chosen(listing, listing.order.measure.name)
    asked = browse_table.asked_of_store(columns)

    def of(number: int) -> Page:
        return answers.page(view.store.digest, view.run, view.k, listing.wish, ROWS,
                            (number - 1) * ROWS, asked)

    page = of(listing.page)
    if not len(page.rows):
        return of(1), columns, 1
    return page, columns, listing.page


def draw_list(
    listing: Listing, page: Page, columns: tuple[str, ...], number: int, meanings: dict[str, str]
) -> None:
    """The count, the order and the table, or what to do when nothing passes."""
    browse_table.draw_over(listing, page, number)
    if page.total:
        browse_table.draw(listing, page, columns, meanings)
        if listing.on_map:
            browse_table.draw_pages(page, number)
        keeping.keep_many(listing.view, page.rows["feature"].tolist())
        return
    shared.say(
        "No feature passes these filters. Take one of them away with its ×, widen a range, or "
        "clear them all."
    )


main()
