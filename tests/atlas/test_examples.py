"""Examples of a feature as a page asks for them, and the fragment that shows them."""

import dataclasses
import math
import re
import shutil
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from atlas import examples as subject
from atlas.errors import NotFound
from atlas.examples import Example, Examples, examples
from atlas.excerpts import CLASSES, excerpts, ink_of
from atlas.recent import Recent
from atlas.store import Store
from precompute.publish import publish
from precompute.stages import precompute_run
from tests.tiny import DEAD, EMBEDDING, LARGE_MODEL, PRISM, SEED0, SMALL, WIDTH


@pytest.fixture(scope="module")
def reader(tiny_store: Path) -> Store:
    return Store.open(tiny_store)


@pytest.mark.parametrize("run", [SEED0, PRISM])
def test_an_example_is_a_stretch_of_the_text(reader: Store, run: str) -> None:
    texts = reader.token_texts(LARGE_MODEL)
    sample = {r["place"]: r["tokens"] for r in reader.ask(
        run, "SELECT place, tokens FROM {run}.sample").to_pylist()}
    after = np.array([t for tokens in sample.values() for t in tokens[2:]])
    shown = 0
    for feature in range(WIDTH):
        found = examples(reader, run, feature)
        firing = set(reader.feature(run, feature).firing.tokens.tolist())
        assert (found.reason is None) == bool(found.found)
        for example in found.found:
            stop = example.start + len(example.ids)
            assert list(example.ids) == sample[example.place][example.start : stop]
            assert list(example.tokens) == [texts[i] for i in example.ids]
            assert len(example.z) == len(example.ids)
            assert np.isnan(example.z[-1])
            assert example.peak == np.nanargmax(example.z)
            assert example.next_index < len(example.ids)
            assert example.fires == (example.ids[example.next_index] in firing)
        peaks = [float(e.z[e.peak]) for e in found.found]
        assert peaks == sorted(peaks, reverse=True)
        if found.found:
            shown += 1
            assert found.n_next == sum(e.fires for e in found.found)
            assert found.share == pytest.approx(np.isin(after, list(firing)).mean())
            assert found.n_tokens == len(after)
            assert found.source == "evaluation.txt"
            assert found.chance > 1
    assert shown > WIDTH / 2


def test_what_has_nothing_to_show_says_why(reader: Store) -> None:
    assert "embedding" in str(examples(reader, EMBEDDING, 0).reason)
    assert "no evaluation text" in str(examples(reader, SMALL, 0).reason)
    dead = examples(reader, SEED0, DEAD)
    assert "dead" in str(dead.reason)
    assert dead.found == ()
    assert math.isnan(dead.share)
    assert dead.n_tokens > 0
    with pytest.raises(NotFound, match="0 to 23"):
        examples(reader, SEED0, WIDTH)
    with pytest.raises(NotFound):
        examples(reader, "tiny/none", 0)


def test_a_list_that_beats_neither_null_is_not_shown(
    reader: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a feature whose list is shown: against a null that it cannot beat it would not be."""
    told = subject._told
    shown = [examples(reader, SEED0, f) for f in range(WIDTH)]
    with_next = next(f for f, e in enumerate(shown) if e.n_next)
    without = next(f for f, e in enumerate(shown) if e.found and not e.n_next)
    monkeypatch.setattr(subject, "_OF_RUNS", Recent(4))
    monkeypatch.setattr(subject, "_told", lambda *asked: {**told(*asked), "chance": 99.0})
    reason = str(examples(reader, SEED0, without).reason)
    assert re.search(r"z \d\.\d\) is no stronger than that of a random direction \(99\.0\)", reason)
    assert examples(reader, SEED0, with_next).found
    monkeypatch.setattr(subject, "BAR", 99.0)
    assert "no place of the text stands out" in str(examples(reader, SEED0, with_next).reason)


def test_a_feature_that_is_silent_at_the_end_has_no_examples(reader: Store) -> None:
    card = reader.run(SEED0)
    life = {"alive": True, "rate_final": 0.0}
    assert "no token at the last snapshot, step 64" in str(subject._silent(card, life))
    assert subject._silent(card, {"alive": True, "rate_final": 0.1}) is None


def test_tokens_are_counted_anew_when_the_store_changes(tiny_store: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(tiny_store, tmp_path / "store"))
    opened = Store.open(store)
    feature = next(f for f in range(WIDTH) if examples(opened, SEED0, f).found)
    before = examples(opened, SEED0, feature)
    path = store / "models" / LARGE_MODEL / "evaluation.txt"
    path.write_text(path.read_text("utf8").upper(), "utf8")
    precompute_run(store, SEED0)
    publish(store)
    assert opened.refresh()
    after = examples(opened, SEED0, feature)
    assert after.n_tokens != before.n_tokens
    assert after.share != before.share


# --- the fragment --------------------------------------------------------------------------------


HOSTILE = '<script>alert("x")</script>'


def made_up(**changes: object) -> Example:
    fields = {
        "place": 0, "start": 1, "ids": (3, 4, 5, 6), "tokens": ("␣a", "␣place", HOSTILE, "\u05d0"),
        "z": np.array([0.2, 3.4, 1.6, np.nan], dtype=np.float32), "peak": 1, "fires": True,
    }
    return Example(**(fields | changes))


def shown_of(*found: Example) -> Examples:
    return Examples(found, None, "evaluation.txt", 1234, 3.75, sum(e.fires for e in found), 0.021)


def test_every_text_is_escaped() -> None:
    html = excerpts(shown_of(made_up()), lambda token: f'token?token={token}&"><script>')
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert") == 3  # the token, its title, the title before it
    assert unescape(html).count(HOSTILE) == 3


def test_the_token_after_the_place_is_marked_and_linked() -> None:
    html = excerpts(shown_of(made_up(), made_up(fires=False)), lambda token: f"token?token={token}")
    spans = re.findall(r'<span class="next( fires)?"[^>]*><a href="token\?token=5"', html)
    assert spans == [" fires", ""]
    before, after = html.split('<span class="next')[0], html.split('<span class="next')[1]
    assert '<span class="peak"' in before.split("<tr>")[-1]
    assert "\u05d0" in after
    assert "a href" not in excerpts(shown_of(made_up()))


def test_ink_follows_the_score() -> None:
    assert [ink_of(z) for z in (-5, 1.5, 2.75, 4.0, 99)] == [0, 0, 0.5, 1, 1]
    html = excerpts(shown_of(made_up()))
    inked = re.findall(r'<span(?: class="([\w ]+)")?(?: style="--a:(\d+)%")?', html)
    assert inked == [("", ""), ("peak", "33"), ("next fires", "2"), ("", "")]


def test_both_nulls_stand_beside_the_list() -> None:
    html = unescape(excerpts(shown_of(made_up(), made_up(fires=False))))
    assert "in 1 of 2 it is one the feature fires on" in html
    assert "of all tokens of the text 2.1% are" in html
    assert "random direction has z 3.8" in html
    assert "1,234 tokens from evaluation.txt" in html


def test_a_reason_takes_the_place_of_the_list() -> None:
    nothing = dataclasses.replace(shown_of(), reason="the <b>model</b> is not here")
    html = excerpts(nothing)
    assert "No examples: the &lt;b&gt;model&lt;/b&gt; is not here." in html
    assert "<table" not in html


def test_every_class_of_the_fragment_is_defined() -> None:
    html = excerpts(shown_of(made_up(), made_up(fires=False)))
    used = {name for names in re.findall(r'class="([^"]+)"', html) for name in names.split()}
    for name in used - {"atl", "atl-cap"}:
        assert f".{name}" in CLASSES, name
