"""Fragments: every text is escaped, numbers read well, what is missing is said."""

import math

import pytest

from atlas import markup, sketches
from atlas.markup import Bar, Fact, HeatCell, HeatColumn

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' style='position:fixed'",
    "</td></table><iframe srcdoc='<script>1</script>'>",
    "![x](http://127.0.0.1:9/beacon)",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9'>",
    "javascript:alert(1)",
    "&lt;b&gt;",
    "`<b>`",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_token_becomes_markup(text: str) -> None:
    cell = HeatCell(text, 0.5, True, href=f"token?token={text}", title=text)
    fragments = [
        markup.header("feature", text, text, text, [Fact(text, text, text)]),
        markup.heat_table([HeatColumn(4, (cell,), True, True, True)]),
        markup.bars([Bar(text, 1.0, href=text, title=text)]),
        markup.ledger([Bar(text, 1.0, "feature", note=text, href=text, title=text)]),
        markup.caption(text, text, text, text),
        markup.note(text, "bad"),
        markup.definitions([(text, text)], code=True),
        markup.prompt([text], 0),
        sketches.small_multiples([sketches.Curve(text, [0, 4], [0.1, 0.2], text)]),
    ]
    for fragment in fragments:
        body = fragment.split("</style>")[-1]
        for opened in ("<script", "<img", "<iframe", "<meta"):
            assert opened not in body
        assert 'onmouseover="' not in body
        assert "style='position" not in body


def test_numbers_read_well_and_what_is_missing_is_said() -> None:
    assert markup.number(-0.0001, 2) == "0.00"
    assert markup.number(-1.5, 1) == "−1.5"
    assert markup.signed(-0.001) == "0.00"
    assert markup.signed(0.126) == "+0.13"
    assert markup.share(0.1234) == "12.3%"
    assert markup.probability(0.0) == "p < 1e-300"
    assert markup.step_name(143000) == "143,000"
    for shown in (markup.number(None), markup.number(math.nan), markup.share(math.nan),
                  markup.step_name(None), markup.probability(None)):
        assert shown == "not available"


def test_a_ledger_draws_every_part_about_one_zero() -> None:
    lines = [Bar("base", 0.0, "base"), Bar("a", -1.0), Bar("b", 3.0),
             Bar("residual", 0.5, "residual"), Bar("exact", 2.5, "exact")]
    drawn = markup.ledger(lines)
    assert drawn.count("left:25.00%\"></u>") == len(lines)
    assert "left:0.00%;width:25.00%" in drawn
    assert "left:25.00%;width:75.00%" in drawn
    assert "repeating-linear-gradient" in drawn


def test_tokens_that_stay_are_inked_in_the_accent_and_noise_is_faint() -> None:
    stays = HeatColumn(0, (HeatCell("a", 1.0, True),))
    goes = HeatColumn(1, (HeatCell("a", 1.0, False),), faint=True)
    drawn = markup.heat_table([stays, goes])
    assert '<td class="stays" style="--a:46%"' in drawn
    assert '<td class="faint" style="--a:7%"' in drawn


def test_births_stand_at_equal_distances_and_outside_ones_fade() -> None:
    found = [sketches.StripBar(0, 5, 0, True), sketches.StripBar(4, 0, 2, False),
             sketches.StripBar(16, 1, 1, True)]
    drawn = sketches.births_strip(found)
    assert "left:0.000%" in drawn
    assert "left:50.000%;width:2.20%;opacity" in drawn
    assert "left:100.000%" in drawn
    assert "step 4: 0 births, 2 deaths" in drawn
    assert sketches.births_strip([]) == ""
