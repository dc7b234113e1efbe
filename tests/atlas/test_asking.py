"""From what is asked to a score: kinds, families, ranks, weights, refusals."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.asking import KINDS, Ask, SeveralTokens, family_words, score_of
from atlas.errors import InvalidValue
from atlas.language_model import encode
from atlas.proposals import family_of, form_problem, rivals_of
from atlas.ranking import exact_logits, ranked
from atlas.reading import Candidate, Reading, read_prompt
from atlas.store import Store
from atlas.token_forms import is_token
from tests.tiny import SEED0, V

PROMPT = "In the beginning the light was upon the"


@pytest.fixture(scope="module")
def reading(tiny_store: Path) -> Reading:
    return read_prompt(Store.open(tiny_store), SEED0, PROMPT)


def token(reading: Reading, text: str) -> int:
    ids = encode(reading.tokenizer, text)
    assert len(ids) == 1, text
    return ids[0]


def ranked_slow(reading: Reading, first: int, last: int) -> tuple[int, ...]:
    """The same from the exact logit of every row."""
    tokens = [t for t in range(len(reading.logits)) if is_token(reading.tokenizer, t)]
    logits = exact_logits(reading, tokens)
    order = sorted(range(len(tokens)), key=lambda i: (-logits[i], tokens[i]))
    return tuple(tokens[i] for i in order)[first - 1 : last]


def padded(reading: Reading, rows: int = 4) -> Reading:
    """The same with rows of the matrix behind the tokenizer's last, the likeliest of all."""
    more = np.full(rows, float(reading.logits.max()) + 1, dtype=np.float32)
    top = tuple(Candidate(V + i, f"⟨row {V + i}⟩", 0.1, 9.0, 9.0) for i in range(rows))
    return replace(reading, logits=np.concatenate([reading.logits, more]), top=top + reading.top)


class TestRanking:
    @settings(max_examples=30, deadline=None)
    @given(first=st.integers(1, V), more=st.integers(0, 40))
    def test_against_the_slow_twin(self, reading: Reading, first: int, more: int) -> None:
        found = ranked(reading, first, first + more)
        assert found.tokens == ranked_slow(reading, first, first + more)
        assert found.count == V
        assert found.note is None

    def test_near_neighbours_are_ordered_by_float64(self, reading: Reading) -> None:
        """Two logits that the float32 product has the wrong way round."""
        order = ranked_slow(reading, 1, V)
        logits = reading.logits.copy()
        a, b = order[20], order[21]
        logits[[a, b]] = logits[[b, a]]
        assert ranked(replace(reading, logits=logits), 21, 22).tokens == (a, b)

    def test_rows_without_a_token_have_no_rank(self, reading: Reading) -> None:
        found = ranked(padded(reading), 1, 2)
        assert found.tokens == ranked(reading, 1, 2).tokens
        assert found.note is not None
        assert "4 rows" in found.note


class TestFamilyWords:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("Paris", ("Paris",)), ("Paris, London", ("Paris", "London")),
            (" Paris |  London", (" Paris", " London")), ("a | b", ("a", "b")),
            ("a|b", ("a", "b")), ("a,,b,", ("a", "b")), ("#17, x", (17, "x")),
            ("#17 | #18", (17, 18)), (",", (",",)), ("|", ("|",)), ("\n", ("\n",)),
            ("a b , c", ("a b", "c")), ("x, y | z", ("x, y", "z")), ("a,  b", ("a", " b")),
        ],
    )
    def test_lists(self, text: str, words: tuple[str | int, ...]) -> None:
        assert family_words(text) == words


class TestKinds:
    @pytest.mark.parametrize("kind", KINDS)
    def test_every_kind_has_a_usual_question(self, reading: Reading, kind: str) -> None:
        found = score_of(reading, Ask(kind))  # type: ignore
        assert found.score.kind == kind
        assert found.score.target == ranked(reading, 1, 1).tokens[0]

    def test_contrast_of_a_target_alone_is_with_the_likeliest_other(self, reading: Reading) -> None:
        best = ranked(reading, 1, 2).tokens
        assert score_of(reading, Ask("contrast", best[1])).score.versus == best[0]
        assert score_of(reading, Ask("contrast", best[0])).score.versus == best[1]

    def test_a_word_is_tried_with_a_space_first(self, reading: Reading) -> None:
        spaced = score_of(reading, Ask("token", "water")).score.target
        assert spaced == token(reading, " water")

    def test_winner_against_a_rank(self, reading: Reading) -> None:
        order = ranked_slow(reading, 1, V)
        for rank in (2, 5, 40, V):
            found = score_of(reading, Ask("rank", rank=rank))
            assert found.score.tokens == (order[0], order[rank - 1])
            assert found.score.weights == (1.0, -1.0)
            assert found.rank == rank

    @pytest.mark.parametrize("rivals", [1, 2, 10, 100])
    def test_winner_against_its_rivals(self, reading: Reading, rivals: int) -> None:
        """pi is the softmax of the rivals' own exact logits, not of the vocabulary's."""
        found = score_of(reading, Ask("topk", rivals=rivals))
        order = ranked_slow(reading, 1, rivals + 1)
        assert found.score.tokens == order
        logits = exact_logits(reading, order[1:])
        pi = np.exp(logits) / np.exp(logits).sum()
        assert found.score.weights == pytest.approx((1.0, *-pi))
        assert found.entropy == pytest.approx(float(-(pi * np.log(pi)).sum()), abs=1e-12)

    def test_known_weights(self, reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
        """prism-method §13.1: logits 5.5 and 3.5 give 0.880797, 0.119203 and entropy 0.365334."""
        monkeypatch.setattr("atlas.asking.exact_logits", lambda _, t: np.array([5.5, 3.5]))
        found = score_of(reading, Ask("topk", rivals=2))
        assert found.score.weights == pytest.approx((1, -0.880797, -0.119203), abs=1e-6)
        assert found.entropy == pytest.approx(0.365334, abs=1e-6)


class TestFamilies:
    def test_members_share_the_weight(self, reading: Reading) -> None:
        found = score_of(reading, Ask("family", " water | the", " light, earth"))
        wanted = {token(reading, " water"): 0.5, token(reading, " the"): 0.5,
                  token(reading, " light"): -0.5, token(reading, " earth"): -0.5}
        assert dict(zip(found.score.tokens, found.score.weights, strict=True)) == wanted
        assert found.note is None
        assert found.score.sides == (
            (token(reading, " water"), token(reading, " the")),
            (token(reading, " light"), token(reading, " earth")),
        )

    def test_what_is_left_out_is_named(self, reading: Reading) -> None:
        found = score_of(reading, Ask("family", "water | xyzzy |  water | #99999", "light"))
        assert found.score.tokens == (token(reading, " water"), token(reading, " light"))
        assert found.note is not None
        assert "'xyzzy' (5 tokens)" in found.note or "'xyzzy' (" in found.note
        assert "'␣water" not in found.note
        assert "␣water again" in found.note
        assert "no token" in found.note

    def test_a_token_of_both_nets_out(self, reading: Reading) -> None:
        found = score_of(reading, Ask("family", "water, the", "the, light"))
        assert found.score.tokens == (token(reading, " water"), token(reading, " light"))
        assert found.score.weights == (0.5, -0.5)
        assert found.note is not None
        assert "in both families" in found.note
        uneven = score_of(reading, Ask("family", "water, the", "the"))
        assert dict(zip(uneven.score.tokens, uneven.score.weights, strict=True)) == {
            token(reading, " water"): 0.5, token(reading, " the"): -0.5,
        }

    @pytest.mark.parametrize(
        ("target", "versus", "said"),
        [("xyzzy", "light", "no word of the target family"),
         ("light", "xyzzy | qqqq", "no word of the versus family"),
         ("water, light", "light, water", "are the same"),
         (", ".join("abcdefghij" * 7), "light", "at most 64")],
    )
    def test_refusals(self, reading: Reading, target: str, versus: str, said: str) -> None:
        with pytest.raises(InvalidValue, match=said):
            score_of(reading, Ask("family", target, versus))

    def test_without_words_the_winner_s_word_is_compared_with_another(
        self, reading: Reading
    ) -> None:
        found = score_of(reading, Ask("family"))
        one, other = found.score.sides
        assert one[0] == ranked(reading, 1, 1).tokens[0]
        assert not set(one) & set(other)


class TestRefusals:
    @pytest.mark.parametrize(
        ("ask", "said"),
        [
            (Ask("rank", rank=1), "the winner itself"), (Ask("rank", rank=V + 1), "no rank 321"),
            (Ask("rank", rank=-3), "2 or more"), (Ask("topk", rivals=0), "1 to 100"),
            (Ask("topk", rivals=101), "1 to 100"), (Ask("topk", " the"), "takes no target"),
            (Ask("rank", versus=" the"), "takes no versus"),
            (Ask("centred", " the", " a"), "takes no versus"),
            (Ask("sum"), "is no score"),  # type: ignore
            (Ask("contrast", " the", "the"), "same token"), (Ask("token", V), "0 to 319"),
            (Ask("token", ""), "empty"),
        ],
    )
    def test_in_words(self, reading: Reading, ask: Ask, said: str) -> None:
        with pytest.raises(InvalidValue, match=said) as caught:
            score_of(reading, ask)
        assert "\n" not in str(caught.value)

    def test_several_tokens_come_with_a_better_question(self, reading: Reading) -> None:
        with pytest.raises(SeveralTokens, match="versus 'WATER' is") as caught:
            score_of(reading, Ask("contrast", " the", "WATER"))
        assert caught.value.side == "versus"
        assert caught.value.pieces == tuple(encode(reading.tokenizer, " WATER"))
        assert token(reading, " water") in caught.value.forms

    def test_a_row_that_belongs_to_no_token(self, reading: Reading) -> None:
        wide = padded(reading)
        with pytest.raises(InvalidValue, match="row 321 belongs to no token.* 324 rows"):
            score_of(wide, Ask("token", V + 1))
        found = score_of(wide, Ask())
        assert found.score.tokens == score_of(reading, Ask()).score.tokens
        assert found.note is not None
        assert "belong to no token" in found.note

    def test_a_mark_of_the_tokenizer_is_said_to_be_one(self, reading: Reading) -> None:
        found = score_of(reading, Ask("token", "<|endoftext|>"))
        assert found.score.target == reading.tokenizer.token_to_id("<|endoftext|>")
        assert found.note == "<|endoftext|> is a special token of the tokenizer, not text"


class TestProposals:
    def test_rivals_are_other_tokens(self, reading: Reading) -> None:
        best = ranked(reading, 1, 3).tokens
        for target in (best[0], token(reading, " the")):
            found = rivals_of(reading, target)
            assert target not in [form.token for form in found]
            assert found[0].token in best[:2]
            assert len({form.token for form in found}) == len(found)

    def test_a_family_can_be_asked_for(self, reading: Reading) -> None:
        target = token(reading, "a")
        found = score_of(reading, Ask("family", family_of(reading, target), " water"))
        assert target in found.score.sides[0]
        assert len(found.score.sides[0]) > 1

    def test_form_problems(self, reading: Reading) -> None:
        def problem(ask: Ask) -> str | None:
            return form_problem(reading, score_of(reading, ask).score)

        assert problem(Ask("contrast", " water", " light")) is None
        one, other = (f"#{t}" for t in (token(reading, "a"), token(reading, "A")))
        ids = [int(t[1:]) for t in (one, other)]
        assert "write the same word" in (problem(Ask("contrast", *ids)) or "")
        assert "mark of the tokenizer" in (problem(Ask("token", "<|endoftext|>")) or "")
