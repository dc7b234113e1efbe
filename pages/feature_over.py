"""Other features' lives over this one's: which they are stands in the address."""

import streamlit as st

from atlas import markup
from atlas.life_marks import MOST_OTHERS
from atlas.records import FeatureCard
from pages import shared


def read(view: shared.Here, feature: int) -> tuple[int, ...]:
    """Other features that the address asks to see beside this one; what is wrong is said."""
    text = st.query_params.get("over")
    if not text:
        return ()
    asked = list(dict.fromkeys(text.split(",")))
    named = {part: shared.whole(part) for part in asked}
    odd = [part for part, number in named.items()
           if number is None or not 0 <= number < view.card.d_sae]
    numbers = list(dict.fromkeys(n for part, n in named.items() if part not in odd))
    found = [number for number in numbers if number != feature]
    if odd:
        others = f" and {len(odd) - 1:,} more are no features" if odd[1:] else " is no feature"
        shared.say(
            f"“{shared.clip(odd[0])}”{others} to draw beside this one. "
            f"{view.run} has the features 0 to {view.card.d_sae - 1:,}.",
            "bad",
        )
    if feature in numbers:
        shared.say(f"Feature {feature:,} is the one shown; it is not drawn over itself.")
    if len(found) > MOST_OTHERS:
        drawn = ", ".join(f"#{other}" for other in found[:MOST_OTHERS])
        shared.say(
            f"Only {MOST_OTHERS} other features can be told apart in one figure: {drawn}, the "
            f"first of the {len(found):,} asked for, are drawn."
        )
    return tuple(found[:MOST_OTHERS])


def draw(card: FeatureCard, over: tuple[int, ...]) -> None:
    """A popover that says whose norms are drawn beside this one's."""
    near = ",".join(map(str, card.neighbours.features[: MOST_OTHERS].tolist()))

    def written() -> None:
        typed = st.session_state["feature_over"].replace("#", "").replace(";", ",")
        shared.address(over=",".join(typed.replace(",", " ").split()))

    label = "Compare lives" if not over else f"Compared with {', '.join(f'#{f}' for f in over)}"
    with st.popover(label, type="tertiary", key="feature_compare"):
        st.html(markup.wrap(markup.caption(
            "", f"Draw the norms of up to {MOST_OTHERS} other features over this one's."
        )))
        st.session_state["feature_over"] = ", ".join(map(str, over))
        st.text_input(
            "features by number", key="feature_over", placeholder="12, 40", max_chars=80,
            on_change=written,
        )
        with st.container(horizontal=True, gap="small"):
            st.button(
                "Its nearest neighbours", key="feature_over_near", disabled=not near,
                on_click=shared.address, kwargs={"over": near},
            )
            st.button(
                "None", key="feature_over_none", disabled=not over,
                on_click=shared.address, kwargs={"over": None},
            )
