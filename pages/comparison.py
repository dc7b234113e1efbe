"""Seeds & scales: what returns in another seed, what comes earlier at another scale?"""

from importlib import import_module

from pages import shared, views

VIEWS = {
    "seeds": ("seeds", "pages.comparison_seeds"),
    "pair": ("two features", "pages.comparison_pair"),
    "prompt": ("one prompt", "pages.comparison_prompt"),
    "scales": ("scales", "pages.comparison_scales"),
    "instruments": ("instruments", "pages.comparison_instruments"),
}
"""Value of `view` in the address, words for it, and the file that draws it."""


def main() -> None:
    """Draw the page."""
    view = shared.here()
    chosen = views.read(VIEWS)
    shared.settle(view, "comparison", view=views.written(VIEWS, chosen))
    views.draw(VIEWS, chosen, "comparison")
    import_module(VIEWS[chosen][1]).draw(view)


main()
