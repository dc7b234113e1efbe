"""Labels of features: planted ones are found, and every figure equals a count by hand."""

import numpy as np
import pytest
from scipy.stats import hypergeom

from atlas.labels import MIN_SHARE, N_TOP, best_labels, scheme_masks

V = 400


def masks(**spans: tuple[int, int]) -> dict[str, np.ndarray]:
    place = np.arange(V)
    return {name: (place >= low) & (place < high) for name, (low, high) in spans.items()}


def tops(*lists: list[int], width: int = N_TOP) -> np.ndarray:
    return np.array([[*ids, *[-1] * (width - len(ids))] for ids in lists])


EVERYTHING = np.ones(V, dtype=bool)


def test_a_label_with_its_share_coverage_enrichment_and_corrected_p():
    labels = masks(small=(0, 20), large=(20, 220), tiny=(220, 224))
    top = tops([*range(8), *range(100, 106), *range(300, 306)])
    found = best_labels(top, labels, EVERYTHING)
    assert found.name.tolist() == ["small"]
    assert found.share[0] == pytest.approx(8 / 20)
    assert found.coverage[0] == pytest.approx(14 / 20)
    assert found.enrichment[0] == pytest.approx(8 / 20 * 400 / 20)
    tail = hypergeom.sf(7, 400, 20, 20)
    assert found.p_value[0] == pytest.approx(2 * tail)


def test_the_larger_share_goes_before_the_smaller_p():
    """A third and more of the tokens say what a feature is; a rare few do not."""
    labels = masks(rare=(0, 8), common=(8, 108))
    top = tops([*range(6), *range(8, 28)])
    found = best_labels(top, labels, EVERYTHING)
    assert found.name[0] == "common"
    assert 6 / 26 < MIN_SHARE <= found.share[0] == pytest.approx(20 / 26)
    diluted = best_labels(tops([*range(6), *range(8, 18), *range(200, 230)]), labels, EVERYTHING)
    assert diluted.name[0] == "rare"


def test_a_label_no_more_frequent_than_in_the_vocabulary_names_nothing_first():
    labels = masks(nearly=(0, 380), rest=(380, 400))
    found = best_labels(tops([*range(16), *range(380, 384)]), labels, EVERYTHING)
    assert found.name[0] == "rest"


def test_too_few_firing_tokens_or_none_with_a_label_have_no_label():
    labels = masks(small=(0, 20))
    found = best_labels(tops([0, 1, 2, 3], [], [200, 201, 202, 203, 204]), labels, EVERYTHING)
    assert found.name.tolist() == ["", "", ""]
    assert np.isnan(found.p_value).all()
    assert np.isnan(found.share).all()
    assert np.isnan(found.coverage[:2]).all()
    assert found.coverage[2] == 0
    nothing = best_labels(tops([0, 1, 2, 3, 4]), masks(tiny=(0, 4)), EVERYTHING)
    assert (nothing.name[0], nothing.coverage[0]) == ("", 0.8)


def test_labels_equal_a_search_by_hand():
    """The slow way: every label of every feature with scipy's tail."""
    g = np.random.default_rng(0)
    labels = {f"l{i}": g.random(V) < share for i, share in enumerate((0.02, 0.1, 0.3, 0.6))}
    allowed = g.random(V) < 0.8
    ids = np.flatnonzero(allowed)
    lists = [g.choice(ids, size=g.integers(5, 50), replace=False).tolist() for _ in range(60)]
    found = best_labels(tops(*lists), labels, allowed)
    tested = {n: m for n, m in labels.items() if (m & allowed).sum() >= 5}
    for j, tokens in enumerate(lists):
        best = None
        for name, mask in tested.items():
            count, size = int(mask[tokens].sum()), int((mask & allowed).sum())
            if not count:
                continue
            share, base = count / len(tokens), size / allowed.sum()
            tail = hypergeom.sf(count - 1, int(allowed.sum()), size, len(tokens))
            order = (share < MIN_SHARE or share / base < 1, tail)
            if best is None or order < best[0]:
                best = (order, name, share, share / base, min(1.0, tail * len(tested)))
        assert best is not None
        assert found.name[j] == best[1]
        assert [found.share[j], found.enrichment[j], found.p_value[j]] == pytest.approx(
            list(best[2:]), rel=1e-6)


def test_schemes_partition_or_overlap_and_leave_padding_out():
    raw = [b" horse", b"Monday", " мир".encode(), b"12", b"", "漢字".encode(), b"\xe2\x82", b" "]
    schemes = scheme_masks(raw)
    assert list(schemes) == ["script", "family", "supersense"]
    for name in ("script", "supersense"):
        assert np.sum(list(schemes[name].values()), axis=0).max() == 1
    assert np.sum(list(schemes["family"].values()), axis=0).max() == 2
    scripts = {n: np.flatnonzero(m).tolist() for n, m in schemes["script"].items()}
    assert scripts == {"ASCII": [0, 1, 3], "CJK": [5], "Cyrillic": [2], "other_unicode": [6],
                       "space": [7]}
    for masks_of in schemes.values():
        assert not any(mask[4] for mask in masks_of.values())
