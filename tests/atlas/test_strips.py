"""Labels, counterparts and spreads as HTML."""

import math
import re

import pytest

from atlas.strips import Counterpart, Label, counterparts, fires_above, labels, spread_of


def test_a_label_that_chance_explains_is_muted() -> None:
    sure, weak = labels([Label("kind", "verbs", 0.5, 9.0, 0.001)]), labels(
        [Label("script", "<b>", 0.9, 1.0, 0.4)]
    )
    assert 'class="weak"' not in sure
    assert "p = 0.001" in sure
    assert 'class="weak"' in weak
    assert "&lt;b&gt;" in weak
    assert "<b><b>" not in weak


def columns(html: str) -> list[tuple[bool, int]]:
    """(greyed, height) of every column."""
    found = re.findall(r'<i( class="off")? style="height:(\d+)px"', html)
    return [(bool(off), int(height)) for off, height in found]


def test_columns_stand_for_counts_and_grey_ones_do_not_fire() -> None:
    html = spread_of([4, 0, 1, 2], [1.0, 2.0, 3.0, 4.0, 5.0], least=3.0, height=40)
    assert columns(html) == [(True, 40), (True, 0), (False, 10), (False, 20)]
    assert "fires above 3.00" in html
    assert "left:50.0%" in html
    assert columns(spread_of([1000, 1], [0.0, 1.0, 2.0]))[1] == (False, 2)  # one row can be seen


@pytest.mark.parametrize("least", [math.nan, 0.5, 9.0])
def test_a_bar_outside_the_spread_is_not_drawn(least: float) -> None:
    html = spread_of([1, 2], [1.0, 2.0, 3.0], least)
    assert "fires above" not in html
    assert ("none fires at this step" in html) == (least == 9.0)


def test_equal_activations_still_have_a_spread() -> None:
    assert len(columns(spread_of([7, 0], [2.0, 2.0, 2.0], 2.0))) == 2


def test_a_feature_fires_above_its_threshold_over_its_norm() -> None:
    assert fires_above(1.0, 0.5) == 2.0
    assert math.isnan(fires_above(1.0, 0.0))
    assert math.isnan(fires_above(1.0, math.nan))


def test_a_counterpart_says_its_null_and_escapes_its_label() -> None:
    def drawn(**changes: object) -> str:
        return counterparts([Counterpart(**{
            "run": "seed 1", "partner": 1234, "label": "<i>x</i>", "cosine": 0.5, "margin": 0.25,
            "percentile": 0.995, "reciprocal": False, "href": "feature?a=1&b=2", **changes,
        })])

    html = drawn()
    assert "99.5 % stay below" in html
    assert "0.25 above its second" in html
    assert "the partner’s best is another" in html
    assert "&lt;i&gt;x&lt;/i&gt;" in html
    assert "#1,234" in html
    assert "a=1&amp;b=2" in html
    assert "none reaches it" in drawn(percentile=1.0)
    assert "above its second" not in drawn(margin=math.nan)
    assert "each is the other’s best" in drawn(reciprocal=True)
