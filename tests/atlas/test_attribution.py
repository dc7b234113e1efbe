"""Shares of the final norm and the ledgers of components, against hand cases and the plain way."""

import numpy as np
import pytest

from atlas.attribution import (
    Component,
    Norm,
    attribute,
    beyond_chance,
    token_spread,
)
from atlas.decomposition import decompose_crosscoder, decompose_prism

RNG = np.random.default_rng(3)
D, N = 12, 9


def case(shift: float = 0.0) -> dict:
    """A random dictionary that nothing has trained, and two tokens."""
    rows = RNG.normal(size=(2, D)) + shift
    active = [(np.array([0, 2, 5]), RNG.random(3)), (np.array([2, 7]), RNG.random(2))]
    return {"rows": rows, "activations": active, "directions": RNG.normal(size=(4, D)),
            "mean": RNG.normal(size=D)}


def norms() -> dict[str, Norm]:
    gain, bias = RNG.normal(size=D), RNG.normal(size=D)
    return {"rms": Norm(gain, 1e-6, False), "layer": Norm(gain, 1e-5, True, bias),
            "layer without bias": Norm(gain, 1e-5, True)}


class TestNorm:
    def test_the_hand_case(self) -> None:
        """u_a = (3, 0), u_b = (0, 4), γ = 1, eps = 0, q = (2, 0) (prism-method §13.1)."""
        norm = Norm(np.ones(2), 0.0, False)
        parts = np.array([[3.0, 0.0], [0.0, 4.0]])
        assert norm.scale(parts.sum(0))[0] == pytest.approx(3.535534, abs=1e-6)
        shares = norm.shares(parts, parts.sum(0))
        np.testing.assert_allclose(shares, [[0.848528, 0], [0, 1.131371]], atol=1e-6)
        np.testing.assert_allclose(shares @ [2.0, 0.0], [1.697056, 0], atol=1e-6)

    @pytest.mark.parametrize("name", ["rms", "layer", "layer without bias"])
    def test_shares_add_up_to_the_norm(self, name: str) -> None:
        norm, parts = norms()[name], 5 * RNG.normal(size=(7, D)) + 3
        total = norm.shares(parts, parts.sum(0)).sum(0)
        total = total if norm.bias is None else total + norm.bias
        np.testing.assert_allclose(total, norm.apply(parts.sum(0)), atol=1e-12)

    def test_each_share_has_its_mean_taken_off(self) -> None:
        norm = Norm(np.ones(D), 1e-5, True)
        shares = norm.shares(RNG.normal(size=(3, D)) + 50, RNG.normal(size=D))
        np.testing.assert_allclose(shares.mean(axis=1), 0, atol=1e-12)

    def test_the_scale_is_that_of_the_whole(self) -> None:
        """Norming each part alone would give something else."""
        norm, parts = norms()["rms"], RNG.normal(size=(3, D))
        assert np.abs(norm.apply(parts).sum(0) - norm.apply(parts.sum(0))).max() > 0.1


def plain(h: np.ndarray, found: dict, weights: np.ndarray, ids: np.ndarray) -> tuple:
    """β_i (h . d_i), offset and residual by the definitions, one feature at a time."""
    beta = np.zeros(8)
    for weight, (features, a) in zip(weights, found["activations"], strict=True):
        for feature, value in zip(features, a, strict=True):
            beta[feature] += weight * value
    order = [0, 2, 5, 7]
    direction = {f: found["directions"][i] for i, f in enumerate(order)}
    parts = [beta[f] * (h @ direction[f]) for f in ids]
    q = weights @ found["rows"]
    rebuilt = weights.sum() * found["mean"] + sum(beta[f] * direction[f] for f in order)
    return parts, weights.sum() * (h @ found["mean"]), h @ (q - rebuilt)


class TestAttribute:
    @pytest.mark.parametrize("weights", [(1.0, -1.0), (1.0, 0.5)])
    def test_rows_and_columns_against_the_plain_way(self, weights: tuple) -> None:
        found, norm = case(), norms()["layer"]
        w = np.array(weights)
        values = RNG.normal(size=(5, D))
        shares = np.vstack([norm.shares(values, values.sum(0)), norm.bias])
        read = [decompose_prism(s, weights=w, **found) for s in shares]
        whole = decompose_prism(norm.apply(values.sum(0)), weights=w, **found)
        named = [Component("attention", i) for i in range(5)] + [Component("norm bias")]
        got = attribute(named, read, whole.exact)
        for c, share in enumerate(shares):
            parts, offset, residual = plain(share, found, w, got.features)
            np.testing.assert_allclose(got.matrix[c], parts, atol=1e-10)
            assert got.offsets[c] == pytest.approx(offset, abs=1e-10)
            assert got.residuals[c] == pytest.approx(residual, abs=1e-10)
        assert got.identity_error < 1e-12
        assert abs(got.additivity_error) < 1e-12
        by_feature = dict(zip(whole.features, whole.contributions, strict=True))
        np.testing.assert_allclose(got.matrix.sum(0), [by_feature[f] for f in got.features])
        assert got.sparse_residual == pytest.approx(whole.residual)
        assert list(np.abs(got.matrix.sum(0))) == sorted(np.abs(got.matrix.sum(0)), reverse=True)

    def test_a_missing_component_is_an_additivity_error(self) -> None:
        found, norm = case(), norms()["rms"]
        values = RNG.normal(size=(3, D))
        shares = norm.shares(values, values.sum(0))
        read = [decompose_prism(s, weights=[1, -1], **found) for s in shares]
        exact = decompose_prism(shares.sum(0), weights=[1, -1], **found).exact
        got = attribute([Component("a"), Component("b")], read[:2], exact)
        assert got.additivity_error == pytest.approx(read[2].exact)
        assert got.identity_error < 1e-12

    def test_features_that_are_not_listed_are_kept_as_a_sum(self) -> None:
        found = case()
        read = [decompose_prism(h, weights=[1, -1], **found) for h in RNG.normal(size=(3, D))]
        named = [Component("a", i) for i in range(3)]
        whole, short = (attribute(named, read, 1.0, most) for most in (None, 2))
        assert short.matrix.shape == (3, 2)
        np.testing.assert_allclose(short.feature_sums, whole.matrix.sum(1))
        assert short.identity_error < 1e-12
        np.testing.assert_array_equal(whole.features[:2], short.features)

    def test_a_crosscoder_with_scale_and_offset(self) -> None:
        found = case() | {"scale": 0.3, "b_D": RNG.normal(size=D)}
        read = [decompose_crosscoder(h, weights=[1.0, -1.0], **found)
                for h in RNG.normal(size=(3, D))]
        got = attribute([Component("a", i) for i in range(3)], read, 0.0)
        np.testing.assert_allclose(got.offsets, 0, atol=1e-12)
        assert got.identity_error < 1e-12

    def test_ledgers_of_two_scores_are_refused(self) -> None:
        one, other = case(), case()
        other["activations"] = [(np.array([1, 2, 5]), np.ones(3)), (np.array([2, 7]), np.ones(2))]
        read = [decompose_prism(np.ones(D), weights=[1, -1], **c) for c in (one, other)]
        with pytest.raises(ValueError, match="different scores"):
            attribute([Component("a"), Component("b")], read, 0.0)
        with pytest.raises(ValueError, match="1 ledgers for 2"):
            attribute([Component("a"), Component("b")], read[:1], 0.0)


class TestChance:
    def test_random_directions_pass_as_often_as_chance_says(self) -> None:
        wide = 64
        shares = RNG.normal(size=(20, wide))
        own, other = RNG.normal(size=(400, wide)), RNG.normal(size=(400, wide))
        assert beyond_chance(shares, own, other).mean() == pytest.approx(0.05, abs=0.02)

    def test_a_direction_along_a_share_is_beyond_whatever_its_length(self) -> None:
        shares = RNG.normal(size=(2, 64))
        other = RNG.normal(size=(100, 64))
        found = beyond_chance(shares, np.stack([1e-3 * shares[0], np.zeros(64)]), other)
        assert found[0, 0]
        assert not found[:, 1].any()

    def test_nothing_to_draw_from_says_nothing(self) -> None:
        assert not beyond_chance(np.ones((1, 3)), np.ones((2, 3)), np.zeros((4, 3))).any()

    def test_a_spread_of_tokens_and_of_pairs(self) -> None:
        shares, rows = RNG.normal(size=(3, D)), RNG.normal(size=(4000, D)) + 5
        alone, pairs = (token_spread(shares, rows, paired) for paired in (False, True))
        values = shares @ rows.T
        share = ((values > alone[:, :1]) & (values < alone[:, 1:])).mean(axis=1)
        np.testing.assert_allclose(share, 0.95, atol=0.01)
        np.testing.assert_allclose(pairs.mean(axis=1), 0, atol=0.3)  # what rows share is gone
