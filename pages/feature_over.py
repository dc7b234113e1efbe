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
    found: list[int] = []
    odd: list[str] = []
    for part in text[:200].split(","):
        number = shared.whole(part)
        if number is None or not 0 <= number < view.card.d_sae:
            odd.append(part)
        elif number != feature and number not in found:
            found.append(number)
    if odd or len(text) > 200:
        shared.say(
            f"“{shared.clip((odd or [text])[0])}” is no feature to draw beside this one. "
            f"{view.run} has the features 0 to {view.card.d_sae - 1:,}.",
            "bad",
        )
    if len(found) > MOST_OTHERS:
        shared.say(
            f"Only {MOST_OTHERS} other features can be told apart in one figure; the "
            "first of them are drawn."
        )
    return tuple(found[: MOST_OTHERS])


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
