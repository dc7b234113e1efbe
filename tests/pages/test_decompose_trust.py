"""The page of how far to trust a dictionary, through AppTest."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from atlas import trust
from atlas.places import APP, STORE_VARIABLE
from atlas.store import Store
from tests.pages.test_pages import asked, calm, text_of
from tests.precompute.test_fidelity import CASES
from tests.precompute.test_fidelity import tried as tried
from tests.tiny import EMBEDDING, PRISM, SEED0

Open = Callable[..., AppTest]


@pytest.fixture
def open_trust(tried: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    monkeypatch.setenv(STORE_VARIABLE, str(tried))

    def opened(**address: object) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=60)
        app.run()
        app.switch_page("decompose.py")
        for name in list(app.query_params):
            del app.query_params[name]
        for name, value in {"view": "trust", **address}.items():
            app.query_params[name] = str(value)
        return app.run()

    return opened


@pytest.mark.parametrize("run", [SEED0, PRISM])
def test_the_page_says_what_the_store_has(open_trust: Open, tried: Path, run: str) -> None:
    app = calm(open_trust(run=run))
    found = trust.trust(Store.open(tried), run)
    shown = text_of(app)
    assert trust.verdict(found, "step 64") in shown
    assert "rowEV does not certify decisions" in shown
    assert "left out, the first: f-0" in shown
    assert ("Through training" in shown) == (run == SEED0)
    frames = {tuple(f.value.columns)[0]: f.value for f in app.dataframe}
    assert len(frames["prompt"]) == CASES
    assert frames["prompt"]["rho"].is_monotonic_decreasing
    passing = frames["method"]["passing"].tolist()
    assert passing == pytest.approx((100 * trust.method_table(found)["passing"]).tolist())
    assert asked(app, "view") == "trust"


def test_no_prompt_is_read(open_trust: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    from atlas import reading

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a prompt was read")

    monkeypatch.setattr(reading, "read_prompt", refuse)
    calm(open_trust(run=SEED0))


def test_cases_are_narrowed_by_the_address(open_trust: Open) -> None:
    app = calm(open_trust(run=SEED0, cases="failing"))
    frame = next(f.value for f in app.dataframe if "prompt" in f.value)
    assert set(frame["gate"]) <= {"fails"}
    app = calm(open_trust(run=SEED0, cases="named"))
    frame = next(f.value for f in app.dataframe if "prompt" in f.value)
    assert set(frame["kind"]) == {"named"}
    odd = calm(open_trust(run=SEED0, cases="purple"))
    assert "“purple” is no kind of contrast" in text_of(odd)
    assert len(next(f.value for f in odd.dataframe if "prompt" in f.value)) == CASES


def test_tables_instead_of_figures(open_trust: Open) -> None:
    app = calm(open_trust(run=SEED0, charts="tables"))
    assert not app.dataframe
    shown = text_of(app)
    for words in ("The contrasts of the query bank", "by bins of the exact score",
                  "in bands of rows", "at every snapshot", "All figures of the dictionary"):
        assert words in shown
    assert "top1 vs norm-matched" in shown


def test_without_model_or_bank_the_reason_is_there(open_trust: Open, tiny_store: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    app = calm(open_trust(run=EMBEDDING))
    assert "not available, because an embedding reads no hidden states" in text_of(app)
    assert "Which rows are rebuilt well?" in text_of(app)
    monkeypatch.setenv(STORE_VARIABLE, str(tiny_store))
    shown = text_of(calm(open_trust(run=SEED0)))
    assert "Contrasts are not available, because the store has no query bank" in shown
    assert "KL" in shown


def test_a_case_is_opened_by_its_address(tried: Path) -> None:
    from pages.decompose_trust_cases import address_of, score_text

    cases = trust.cases(Store.open(tried), SEED0).set_index("case_id")
    two = address_of(cases.loc["a-0"])
    target, versus = (int(t) for t in cases.loc["a-0", "tokens"])
    assert (two["target"], two["versus"], two["kind"]) == (f"#{target}", f"#{versus}", None)
    assert two["position"] is None
    assert address_of(cases.loc["d-0"])["position"] == 1
    family = address_of(cases.loc["b-0"])
    assert family["kind"] == "family"
    assert " | " in family["target"]
    native = cases.loc["c-0"]
    mean = address_of(native[native["contrast"] == "top1 vs mean"].iloc[0])
    assert (mean["kind"], mean["versus"]) == ("centred", None)
    texts = Store.open(tried).token_texts("tiny-large")
    assert score_text([0], [1.0], "top1 vs mean", texts).endswith("− the mean row")
    json.dumps({k: v for k, v in two.items() if not isinstance(v, pd.Series)})


def test_figures_send_little(open_trust: Open) -> None:
    app = calm(open_trust(run=SEED0))
    sizes = [len(e.proto.spec) for e in app.get("plotly_chart") if hasattr(e.proto, "spec")]
    assert len(sizes) >= 4
    assert sum(sizes) < 60_000
