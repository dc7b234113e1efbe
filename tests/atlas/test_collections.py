"""Collections: what is written is read again, what is not one is refused by name."""

import json
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas import collections as c
from atlas.collections import Collection, Entry
from atlas.errors import BrokenArtifact, InvalidValue, VersionMismatch

LINE = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)
NOTES = st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n\t"),
                max_size=80)
ENTRIES = st.builds(
    Entry,
    run=LINE.filter(str.strip),
    kind=st.sampled_from(c.KINDS),
    number=st.integers(0, c.LARGEST),
    hash=st.text("0123456789abcdef", max_size=c.HASH),
    tags=st.lists(LINE, max_size=4).map(c.tidy_tags),
    note=NOTES,
    step=st.none() | st.integers(0, 143_000),
    added=st.dates().map(lambda d: d.isoformat()) | st.just(""),
)
COLLECTIONS = st.builds(
    lambda name, about, caveat, entries: c.merged(Collection(name, about, caveat), entries),
    LINE.map(str.strip).filter(bool), NOTES, NOTES, st.lists(ENTRIES, max_size=6),
)


def entry(number: int = 1, **more: Any) -> Entry:
    return Entry(**({"run": "a/b", "kind": "feature", "number": number} | more))


# --- text ---------------------------------------------------------------------------------------


@given(COLLECTIONS)
@settings(max_examples=150, deadline=None)
def test_what_is_written_is_read_again(found: Collection) -> None:
    text = c.to_text(found)
    assert c.read_text(text, "it") == found
    assert c.read_text(text.encode("utf8"), "it") == found
    assert c.to_text(c.read_text(text, "it")) == text
    assert isinstance(json.loads(text)["entries"], list)


def test_a_changed_note_is_one_changed_line() -> None:
    before = c.merged(Collection("x"), [entry(i, note="as it was") for i in range(5)])
    after = c.with_entry(before, entry(3, note="as it is"))
    lines = zip(c.to_text(before).splitlines(), c.to_text(after).splitlines(), strict=True)
    assert [a for a, b in lines if a != b] == ['      "note": "as it was"']


def test_a_new_entry_stands_in_its_place() -> None:
    found = c.merged(Collection("x"), [entry(9), entry(2), entry(30), entry(2, kind="token")])
    assert [(e.kind, e.number) for e in found.entries] == [
        ("feature", 2), ("feature", 9), ("feature", 30), ("token", 2)]
    assert c.to_text(found) == c.to_text(replace(found, entries=found.entries[::-1]))


@given(st.dictionaries(st.text(max_size=8), st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=True) | st.text(max_size=8) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8)))
@settings(max_examples=100, deadline=None)
def test_any_other_json_is_refused_in_words(held: dict) -> None:
    good = {"format": c.FORMAT, "version": c.VERSION, "name": "x", "entries": []}
    for broken in (held, good | held | {"entries": [held]}, good | {"entries": held}):
        with pytest.raises((BrokenArtifact, VersionMismatch)) as caught:
            c.read_text(json.dumps(broken), "the file")
        assert str(caught.value).startswith("the file")


GOOD = {"format": c.FORMAT, "version": 1, "name": "x", "about": "", "caveat": ""}
ONE = {"run": "a/b", "feature": 3, "hash": "", "tags": [], "note": "", "added": ""}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"feature": -1}, r"entries\[0\].feature is -1"),
        ({"feature": True}, r"entries\[0\].feature is True"),
        ({"feature": 2**40}, r"entries\[0\].feature"),
        ({"feature": "3"}, r"entries\[0\].feature"),
        ({"token": 3}, "neither a feature nor a token, or both"),
        ({"run": " "}, r"entries\[0\].run is empty"),
        ({"run": "a\nb"}, r"entries\[0\].run holds the character U\+000A"),
        ({"note": "a\0b"}, r"entries\[0\].note holds the character U\+0000"),
        ({"note": "\ud800"}, r"entries\[0\].note holds the character U\+D800"),
        ({"note": "x" * 4001}, r"entries\[0\].note is no text of at most 4,000"),
        ({"tags": "a"}, r"entries\[0\].tags is no list"),
        ({"tags": ["x" * 41]}, r"entries\[0\].tags\[0\]"),
        ({"tags": ["a"] * 21}, r"entries\[0\].tags"),
        ({"hash": "../../etc"}, r"entries\[0\].hash"),
        ({"added": "yesterday"}, r"entries\[0\].added"),
        ({"added": "2026-02-30"}, r"entries\[0\].added"),
        ({"step": -1}, r"entries\[0\].step"),
        ({"colour": "red"}, r"entries\[0\] has a field 'colour'"),
    ],
    ids=str,
)
def test_faults_name_the_field(change: dict, field: str) -> None:
    with pytest.raises(BrokenArtifact, match=field):
        c.read_text(json.dumps(GOOD | {"entries": [ONE | change]}), "f.json")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[]", "is no collection"),
        ('{"format": "x"}', "is no collection"),
        ("[" * 100_000, "no JSON"),
        ('{"format": 1, "format": 2}', "given twice"),
        (b"\xff\xfe", "no JSON"),
        (json.dumps(GOOD | {"name": "  "}), "name is empty"),
        (json.dumps(GOOD | {"name": "a\u0007"}), "name holds the character"),
        (json.dumps(GOOD | {"entries": [ONE, ONE]}), "is the second about feature 3"),
        (json.dumps(GOOD | {"entries": [7]}), r"entries\[0\] is no table"),
        (json.dumps(GOOD)[:-1] + ', "x": NaN}', "no JSON"),
        (json.dumps(GOOD | {"about": "x" * c.MAX_BYTES}), "larger than"),
    ],
    ids=range(13),
)
def test_what_is_no_collection_is_refused(text: str | bytes, reason: str) -> None:
    with pytest.raises(BrokenArtifact, match=reason):
        c.read_text(text, "f.json")


def test_a_later_version_is_told_apart() -> None:
    with pytest.raises(VersionMismatch, match="version 2, this code reads 1"):
        c.read_text(json.dumps(GOOD | {"version": 2}), "f.json")


def test_too_many_entries_and_too_much_text_are_not_written() -> None:
    many = Collection("x", entries=tuple(entry(i) for i in range(c.MAX_ENTRIES + 1)))
    with pytest.raises(InvalidValue):
        c.to_text(many)
    with pytest.raises(InvalidValue, match="name is empty"):
        c.to_text(Collection("   "))


# --- changing -----------------------------------------------------------------------------------


def test_merging_loses_nothing() -> None:
    before = c.merged(Collection("x"), [
        entry(1, tags=("a",), note="one", added="2026-01-01", step=4)])
    after = c.merged(before, [entry(1, tags=("b",), note="two", added="2026-02-02"), entry(2)])
    assert after.entries[0] == entry(
        1, tags=("a", "b"), note="one\ntwo", added="2026-01-01", step=4)
    assert after.entries[1] == entry(2)
    assert c.merged(after, after.entries) == after


@given(COLLECTIONS, COLLECTIONS)
@settings(max_examples=80, deadline=None)
def test_a_difference_turns_one_into_the_other(before: Collection, after: Collection) -> None:
    found = c.difference(before, after)
    kept = c.without(before, [e.key for e in found.removed])
    for new in (*found.added, *(b for _, b, _ in found.changed)):
        kept = c.with_entry(kept, new)
    assert [replace(e, added="") for e in kept.entries] == [
        replace(e, added="") for e in after.entries]
    assert c.difference(after, after) == c.Difference((), (), ())


@given(st.lists(st.text(string.printable, max_size=12)))
def test_tags_are_tidy(tags: list[str]) -> None:
    found = c.tidy_tags(tags)
    assert list(found) == sorted(set(found))
    assert all(tag == " ".join(tag.split()) != "" for tag in found)
    assert c.tidy_tags(found) == found


def test_every_text_of_a_file_is_kept_as_it_is(tmp_path: Path) -> None:
    note = '<script>alert(1)</script> =1+1 "quoted" \\ שלום \u202e \n second line'
    found = c.merged(Collection("=HYPERLINK()"), [entry(1, note=note, tags=("</td>",))])
    (tmp_path / "x.json").write_text(c.to_text(found), "utf8")
    assert c.read_text((tmp_path / "x.json").read_bytes(), "x").entries[0].note == note
