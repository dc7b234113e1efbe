"""What a ledger's numbers still allow: the bins and limits of prism-method §7."""

import numpy as np
import pytest

from atlas import decomposition as dc
from atlas.coverage import coverage
from atlas.standing import limits, margin_bin


@pytest.mark.parametrize(
    ("exact", "name"),
    [(0, "<0.5"), (-0.49, "<0.5"), (0.5, "0.5-1"), (-0.99, "0.5-1"), (1, "1-2"), (1.99, "1-2"),
     (2, ">=2"), (-30, ">=2")],
)
def test_margin_bins(exact: float, name: str) -> None:
    assert margin_bin(exact) == name


def reasons(
    exact: float, base: float, values: list[float], signed: bool, form: str | None = None
) -> list[str]:
    contributions = np.array(values)
    total = float(contributions.sum())
    said = dc.verdict(exact, base + total, signed)
    residual = exact - base - total
    ledger = dc.Ledger(
        exact, base, total, residual, np.arange(len(values)), contributions, said.rho,
        abs(residual) / (abs(exact - base) + 0.5), said.sign_agrees, said.gate,
    )
    spread = coverage(ledger.features, contributions, ledger.reconstructed)
    return [limit.reason for limit in limits(ledger, spread, signed, form)]


def test_nothing_limits_a_good_contrast() -> None:
    assert reasons(4.0, 0, [2.0, 1.6], True) == []


def test_each_limit_is_named() -> None:
    assert reasons(4.0, 0, [1.0], True) == ["residual"]
    assert reasons(2.0, 0, [-1.0], True) == ["residual", "sign"]
    assert reasons(-4.0, 0, [-3.8], True) == ["side"]
    assert reasons(4.0, 0, [0.05] * 80, True) == ["diffuse"]
    assert reasons(0.3, 0, [0.25], True) == ["tiny"]
    assert reasons(4.0, 0, [3.9], True, "both write one word") == ["form"]


def test_a_base_that_hides_the_residual() -> None:
    """exact 20 = base 19 + features 0.1 + residual 0.9: the gate passes, the features say little.
    """
    assert reasons(20.0, 19.0, [0.1], False) == ["base"]
    assert reasons(-4.0, -3.9, [-0.1], False) == []  # a logit has no side
