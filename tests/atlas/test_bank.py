"""Query banks: the shipped one, broken ones, what a model proposes (prism-method §6.2, §6.4)."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from atlas.bank import (
    DEMO_BANK,
    FIELDS,
    FRONT,
    NATIVE,
    bank_file,
    native_records,
    native_tokens,
    read_bank,
    seed_of,
)
from atlas.errors import BrokenArtifact
from atlas.language_model import load_tokenizer, resolve_token
from atlas.places import DEMO, model_path

RECORD = {
    "case_id": "a-0", "base_case_id": "a", "variant_id": "0", "bank": "curated", "family": "x",
    "prompt": "The", "scored_position": "last", "target_a": " one", "target_b": " two",
    "target_a_family": None, "target_b_family": None, "expected_side": "A",
    "expected_is_task_label_only": True, "notes": None,
}


def written(tmp_path: Path, *records: object) -> Path:
    path = tmp_path / "bank.jsonl"
    lines = (r if isinstance(r, str) else json.dumps(r) for r in records)
    path.write_text("\n".join(lines), encoding="utf8")
    return path


def test_the_shipped_bank_has_the_fields_of_the_format() -> None:
    records = read_bank(DEMO_BANK)
    assert 150 <= len(records) <= 300
    assert {r.bank for r in records} == {"curated", "model-native"}
    assert len({r.base_case_id for r in records}) < len(records) / 1.5
    assert [f.name for f in dataclasses.fields(records[0])] == list(FIELDS)
    first = json.loads(DEMO_BANK.read_text("utf8").split("\n")[0])
    assert list(first) == list(RECORD)
    assert any("Введите" in r.prompt for r in records)


@pytest.mark.parametrize("model", ["demo-large", "demo-small"])
def test_targets_of_the_shipped_bank_are_single_tokens_as_written(model: str) -> None:
    tokenizer = load_tokenizer(model_path(DEMO, model))
    for record in read_bank(DEMO_BANK):
        for text in (record.target_a, record.target_b):
            if text is not None:
                token = resolve_token(tokenizer, text)
                assert tokenizer.decode([token]) == text, record.case_id


def test_its_native_part_is_rebuilt_from_the_shipped_text() -> None:
    from trainer.tokens import documents

    found = native_records(list(documents(DEMO / "corpus.jsonl.xz", "validation")))
    assert found == [r for r in read_bank(DEMO_BANK) if r.native]
    assert all(len(r.prompt) <= 150 for r in found)


@pytest.mark.parametrize(("change", "said"), [
    ({"target_a": 3}, "line 2: target_a is 3, expected the text of a token, or null"),
    ({"prompt": "  "}, "line 2: prompt is '  ', expected some text"),
    ({"scored_position": "first"}, 'line 2: scored_position is \'first\', expected "last"'),
    ({"scored_position": True}, "line 2: scored_position"),
    ({"expected_side": "C"}, "line 2: expected_side"),
    ({"target_b": None}, "line 2: target_b is null, but the other side is not"),
    ({"target_b": " one"}, "line 2: target_b is ' one', as target_a is"),
    ({"target_a_family": [], "target_b_family": ["x"]}, "line 2: target_a_family is []"),
    ({"expected_is_task_label_only": "yes"}, "line 2: expected_is_task_label_only"),
    ({"case_id": "a-0"}, "line 2: case_id 'a-0' is that of line 1"),
    ({"colour": "red"}, "line 2 has a field 'colour'"),
])
def test_a_broken_record_names_file_line_and_field(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    path = written(tmp_path, RECORD, {**RECORD, "case_id": "a-1", **change})
    with pytest.raises(BrokenArtifact) as error:
        read_bank(path)
    assert f"{path}: {said}" in str(error.value)


@pytest.mark.parametrize(("lines", "said"), [
    (("{",), "line 1 is not JSON"), (("[1]",), "line 1 is no JSON object"),
    (("", ""), "has 0 records"),
    ((json.dumps({k: v for k, v in RECORD.items() if k != "notes"}),), "lacks the field notes"),
])
def test_what_is_no_bank(tmp_path: Path, lines: tuple[str, ...], said: str) -> None:
    with pytest.raises(BrokenArtifact, match=said):
        read_bank(written(tmp_path, *lines))


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bank.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BrokenArtifact, match=r"bank\.jsonl is no text"):
        read_bank(path)


def test_a_bank_of_ones_own_comes_first(tmp_path: Path) -> None:
    assert bank_file(tmp_path, "demo-large") == DEMO_BANK
    assert bank_file(tmp_path, "pythia-160m") is None
    own = model_path(tmp_path, "demo-large") / "bank.jsonl"
    own.parent.mkdir(parents=True)
    own.write_text(json.dumps(RECORD), encoding="utf8")
    assert bank_file(tmp_path, "demo-large") == own


def test_the_models_own_contrasts() -> None:
    random = np.random.default_rng(0)
    logits, norms = random.normal(size=400), random.random(400) + 0.5
    known = np.ones(400, dtype=bool)
    known[int(np.argmax(logits))] = False  # the best row is no token
    order = [int(i) for i in np.argsort(-logits, kind="stable") if known[i]]
    found = native_tokens("a case", logits, norms, known)
    assert tuple(found) == NATIVE
    assert found["top1 vs top2"] == (order[0], order[1])
    assert found["top1 vs rank 5"] == (order[0], order[4])
    assert found["top1 vs mean"] == (order[0], None)
    near, drawn = found["top1 vs norm-matched"][1], found["top1 vs random"][1]
    rest = order[FRONT:]
    assert near == min(rest, key=lambda t: abs(norms[t] - norms[order[0]]))  # all are drawn
    assert drawn in order[20:200]
    assert found == native_tokens("a case", logits, norms, known)
    others = {native_tokens(f"case {i}", logits, norms, known)["top1 vs random"] for i in range(9)}
    assert len(others) > 4


def test_the_seed_of_a_case_is_the_head_of_its_md5() -> None:
    assert seed_of("abc") == 0x90015098
