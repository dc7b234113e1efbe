"""Histograms and chips as HTML: heights, links, escaping."""

import re

from atlas.histograms import Bin, Chart, Chip, chips, curve, height, histograms


def chart(*bins: Bin, **more: object) -> Chart:
    return Chart("norm", "Decoder <norm>.", bins, ("0", "1"), **more)


def test_heights_go_by_the_root_and_never_vanish() -> None:
    assert height(0, 100) == 0
    assert height(100, 100) == 100
    assert height(25, 100) == 50
    assert height(1, 24_576) == 3
    assert height(5, 0) == 0


def test_every_full_bar_is_a_link_and_an_empty_one_is_none() -> None:
    drawn = histograms([chart(Bin("0 to 1", 4, 1, "?a=1"), Bin("1 to 2", 0, 0, "?a=2"))])
    assert re.findall(r'href="([^"]+)"', drawn) == ["?a=1"]
    assert 'title="0 to 1: 1 of 4"' in drawn
    assert "--a:100%;--p:50%" in drawn
    assert "Decoder &lt;norm&gt;." in drawn


def test_a_chart_is_quiet_only_while_everything_passes() -> None:
    assert "atl-hists all" in histograms([chart(Bin("x", 3, 3))])
    assert "atl-hists all" not in histograms([chart(Bin("x", 3, 3)), chart(Bin("y", 3, 2))])


def test_a_kept_range_can_be_let_go_and_dims_what_is_outside() -> None:
    drawn = histograms([chart(
        Bin("a", 2, 2, "?in", chosen=True), Bin("b", 2, 0, "?out"), kept="0 to 1", free="?free",
    )])
    assert '<a href="?free" target="_self"' in drawn
    assert re.search(r'<a class="out"[^>]+href="\?out"', drawn)
    assert not re.search(r'<a class="out"[^>]+href="\?in"', drawn)


def test_names_are_escaped_and_state_what_is_chosen() -> None:
    drawn = histograms([Chart(
        "kind", "", (Bin("<b>", 2, 1, "?k=%3Cb%3E&x=1", chosen=True), Bin("c", 1, 1, "?c")),
        categories=True, kept="1 kept", free="?", missing=3,
    )])
    assert "<b>" not in drawn.replace("<b>×</b>", "")
    assert "&amp;x=1" in drawn
    assert 'class="on"' in drawn
    assert 'class="out"' in drawn


def test_chips_stand_in_groups_joined_by_or() -> None:
    drawn = chips([[Chip("a", "?a"), Chip("b", "?b")], [Chip("c", "?c")]], [Chip("d", "?d")], "?")
    text = re.sub(r"<[^>]+>", " ", drawn).split()
    assert text == ["d", "×", "a", "×", "b", "×", "or", "c", "×", "clear", "all"]
    assert drawn.count('class="group"') == 2
    assert 'class="group"' not in chips([[Chip("a", "?a")]])
    assert "&lt;i&gt;" in chips([], [Chip("<i>", "?")])


def test_a_curve_goes_there_and_back() -> None:
    drawn = curve((0.0, 1.0, 0.5))
    corners = re.search(r"polygon\((.+)\)", drawn).group(1).split(",")
    assert len(corners) == 6
    assert corners[:3] == ["0% 88%", "50% 0%", "100% 44%"]
