"""The view of edits: what it draws, its control, the chooser, bad addresses, its code."""

import pytest

from atlas.asking import Ask
from atlas.editing import edit_prompt
from atlas.edits import read_edit
from atlas.markup import signed
from atlas.reading import read_prompt
from atlas.store import Store
from tests.pages.test_pages import Open, asked, calm, open_page, text_of  # noqa: F401
from tests.tiny import PRISM, SEED0, STEPS, WIDTH

PROMPT = "In the beginning the light was upon the"


@pytest.fixture
def opened(open_page: Open):  # noqa: F811
    def view(**address: object):
        usual = {"run": SEED0, "prompt": PROMPT, "view": "edit"}
        return open_page("decompose", **(usual | address))

    return view


def edited(folder, text: str, **more: object):
    store = Store.open(folder)
    return edit_prompt(store, read_prompt(store, SEED0, PROMPT), Ask(), read_edit(text, WIDTH),
                       **more)  # type: ignore


@pytest.mark.parametrize("edit", ["ablate:2", "scale:1,2@0.5", "add:3@-4"])
def test_a_link_gives_the_same_numbers(opened, tiny_store, edit: str) -> None:
    app = calm(opened(edit=edit, seed=3))
    found, shown = edited(tiny_store, edit, seed=3), text_of(app)
    for value in (found.ledger.exact, found.after.exact, found.change, found.predicted):
        assert signed(value) in shown
    assert f"{found.kl:.3f} bits" in shown
    assert "20 draws" in shown
    assert "seed 3" in shown
    for move in found.likely[:3]:
        assert move.text in shown
    assert app.text_input(key="edit_typed").value == edit


def test_without_an_edit_the_largest_feature_is_taken_out(opened, tiny_store) -> None:
    app = calm(opened())
    first = edited(tiny_store, "ablate:0").ledger.features[0]
    assert "edit" not in app.query_params
    assert app.text_input(key="edit_typed").value == f"ablate:{first}"


def test_widgets_write_the_address(opened) -> None:
    app = calm(opened(edit="ablate:2"))
    app.segmented_control(key="edit_kind").set_value("add").run()
    assert asked(calm(app), "edit") == "add:2@4"
    app.slider(key="edit_amount_add").set_value(-3.0).run()
    assert asked(calm(app), "edit") == "add:2@-3"
    app.text_input(key="edit_typed").set_value("1, 3").run()
    assert asked(calm(app), "edit") == "ablate:1,3"
    app.number_input(key="edit_seed").set_value(7).run()
    assert asked(calm(app), "seed") == "7"
    assert "seed 7" in text_of(app)


def test_the_features_are_offered_with_what_they_carry(opened) -> None:
    table = calm(opened(edit="ablate:2,23", bars="show")).dataframe[-1].value
    assert "contribution" in table
    chosen = table[table["edited"] == "●"]["feature"].tolist()
    assert set(chosen) == {"#2", "#23"}


def test_a_failing_gate_allows_the_edit_and_says_so(opened, tiny_store) -> None:
    found = edited(tiny_store, "ablate:2")
    app = calm(opened(edit="ablate:2"))
    shown = text_of(app)
    if found.ledger.gate:
        assert "The gate fails here" not in shown
        assert app.get("plotly_chart")
        return
    assert "The gate fails here: the features do not explain this score" in shown
    assert "The points are withheld" in shown
    assert not app.get("plotly_chart")
    assert "contribution" not in app.dataframe[-1].value
    assert len(calm(opened(edit="ablate:2", bars="show")).get("plotly_chart")) == 1


def test_the_continuation_is_written_when_it_is_asked_for(opened) -> None:
    app = calm(opened(edit="ablate:2"))
    assert not written(app)
    app.button(key="edit_more_8").click().run()
    assert asked(calm(app), "more") == "8"
    assert written(app)
    app.button(key="edit_stop").click().run()
    assert "more" not in calm(app).query_params
    assert not written(app)


def written(app) -> bool:
    return any('title="token 1"' in e.proto.body for e in app.get("html"))


@pytest.mark.parametrize(("address", "said"), [
    ({"edit": "drop:3"}, "is no edit"), ({"edit": f"ablate:{WIDTH}"}, "There is no feature"),
    ({"edit": "add:1@9999"}, "outside"), ({"edit": "<img src=x>"}, "is no edit"),
    ({"edit": "ablate:" + "1," * 400 + "1"}, None), ({"seed": "-1"}, "is no seed"),
    ({"seed": "x"}, "is no seed"), ({"more": "900"}, "cannot be written"),
    ({"more": "x"}, "cannot be written"), ({"step": "0", "edit": "ablate:22"}, "has no direction"),
])
def test_bad_addresses_are_said_calmly(opened, address: dict, said: str | None) -> None:
    app = calm(opened(**address))
    if said is not None:
        assert said in text_of(app)


@pytest.mark.parametrize("step", STEPS)
def test_every_step_and_both_hidden_states(opened, step: int) -> None:
    calm(opened(step=step, edit="add:1@2", more=8))
    calm(opened(step=step, edit="add:1@2", hidden="own"))


def test_a_prism(opened) -> None:
    app = calm(opened(run=PRISM))
    assert "What the edit changes." in text_of(app) or "No feature of this dictionary" in text_of(
        app)


def test_tables_instead_of_figures(opened) -> None:
    app = calm(opened(charts="tables", bars="show"))
    assert not app.get("plotly_chart")
    assert "change_of_score" in text_of(app)


def test_the_code_gives_the_same(tiny_store, monkeypatch, capsys) -> None:
    from atlas.edit_recipe import python_of
    from atlas.places import STORE_VARIABLE

    monkeypatch.setenv(STORE_VARIABLE, str(tiny_store))
    names: dict = {}
    exec(python_of(SEED0, PROMPT, -1, repr(Ask()), "scale:1,2@1.5", 16, 64, 5, 3), names)
    wanted = edited(tiny_store, "scale:1,2@1.5", step=16, hidden_step=64, seed=5)
    assert names["found"].change == wanted.change
    assert names["found"].draws == wanted.draws
    assert len(names["text"].after) <= 3
    assert str(wanted.change) in capsys.readouterr().out
