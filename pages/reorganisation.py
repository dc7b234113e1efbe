"""Births & reorganisation: when does the population change, and is it more than chance?"""

from importlib import import_module

from pages import shared, views

VIEWS = {
    "population": ("population", "pages.population"),
    "window": ("reorganisation window", "pages.windows"),
    "controls": ("controls", "pages.controls"),
    "words": ("reading and writing", "pages.read_write"),
}
"""Value of `view` in the address, words for it, and the file that draws it."""


def main() -> None:
    """Draw the page."""
    view = shared.here()
    chosen = views.read(VIEWS)
    shared.settle(view, "reorganisation", view=views.written(VIEWS, chosen))
    views.draw(VIEWS, chosen, "reorganisation")
    import_module(VIEWS[chosen][1]).draw(view)


main()
