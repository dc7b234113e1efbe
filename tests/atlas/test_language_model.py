"""The language model of a store: put together from its parts, nothing invented."""

import shutil
from pathlib import Path

import pytest
import torch

from atlas.artifacts import load_snapshot
from atlas.errors import BrokenArtifact, InvalidValue, NotFound
from atlas.language_model import (
    LanguageModel,
    draw_token,
    draw_tokens,
    encode,
    full_steps,
    load_tokenizer,
    plain_token,
    resolve_token,
)
from atlas.places import model_path
from atlas.tensor_files import load_tensors, read_json, save_tensors, write_json
from tests.families import spaced_tokenizer
from tests.tiny import FULL, LARGE_MODEL, STEPS, V
from trainer.language_model import LanguageModelRecipe, build_model

NAME = f"readout-atlas/{LARGE_MODEL}"


@pytest.fixture
def folder(tiny_store: Path) -> Path:
    return model_path(tiny_store, LARGE_MODEL)


@pytest.fixture
def own(tiny_store: Path, tmp_path: Path) -> Path:
    """A copy of the model's folder that a test may damage."""
    return Path(shutil.copytree(model_path(tiny_store, LARGE_MODEL), tmp_path / LARGE_MODEL))


def test_whole_models_are_found(folder: Path, tmp_path: Path) -> None:
    assert full_steps(folder) == list(FULL)
    assert full_steps(tmp_path / "nowhere") == []


@pytest.mark.parametrize("step", FULL)
def test_hidden_state_is_what_the_head_reads(tiny_store: Path, folder: Path, step: int) -> None:
    """h W_U^T is the logit of an independently built model (prism-method §1)."""
    recipe = LanguageModelRecipe(**{
        k: tuple(v) if isinstance(v, list) else v
        for k, v in read_json(folder / "history.json")["recipe"].items()
    })
    weights = load_tensors(folder / f"step{step}.safetensors")
    weights["lm_head.weight"] = load_snapshot(tiny_store, NAME, step, "W_U")
    weights["gpt_neox.embed_in.weight"] = load_snapshot(tiny_store, NAME, step, "W_E")
    plain = build_model(recipe)
    plain.load_state_dict(weights, strict=True)
    ids = encode(load_tokenizer(folder), "the water of life 🌊")
    with torch.inference_mode():
        logits = plain.eval()(input_ids=torch.tensor([ids])).logits[0]
    hidden = LanguageModel.load(folder, tiny_store, step).hidden("the water of life 🌊")
    assert hidden.dtype == torch.float32
    assert torch.allclose(hidden @ weights["lm_head.weight"].T, logits, atol=1e-5)


def test_the_last_model_is_the_default(tiny_store: Path, folder: Path) -> None:
    assert LanguageModel.load(folder, tiny_store).step == FULL[-1]


def test_a_step_without_a_whole_model(tiny_store: Path, folder: Path) -> None:
    with pytest.raises(NotFound, match=r"step 4; kept are \[0, 16, 64\]"):
        LanguageModel.load(folder, tiny_store, STEPS[2])


def test_no_weight_is_invented(tiny_store: Path, own: Path) -> None:
    weights = load_tensors(own / "step64.safetensors")
    gone = weights.pop("gpt_neox.layers.1.mlp.dense_4h_to_h.weight")
    save_tensors(own / "step64.safetensors", weights)
    with pytest.raises(BrokenArtifact, match=r"lacks gpt_neox\.layers\.1\.mlp\.dense_4h_to_h"):
        LanguageModel.load(own, tiny_store)
    weights["gpt_neox.layers.1.mlp.dense_4h_to_h.weight"] = gone[:, :-1]
    save_tensors(own / "step64.safetensors", weights)
    with pytest.raises(BrokenArtifact, match="but the model wants"):
        LanguageModel.load(own, tiny_store)
    weights["gpt_neox.layers.1.mlp.dense_4h_to_h.weight"] = gone
    save_tensors(own / "step64.safetensors", weights | {"gpt_neox.layers.9.extra": gone.clone()})
    with pytest.raises(BrokenArtifact, match=r"holds gpt_neox\.layers\.9\.extra"):
        LanguageModel.load(own, tiny_store)


def test_a_value_that_is_not_finite(tiny_store: Path, own: Path) -> None:
    weights = load_tensors(own / "step64.safetensors")
    weights["gpt_neox.final_layer_norm.bias"][0] = float("nan")
    save_tensors(own / "step64.safetensors", weights)
    with pytest.raises(BrokenArtifact, match="not finite"):
        LanguageModel.load(own, tiny_store)


def test_a_configuration_that_is_no_model(tiny_store: Path, own: Path) -> None:
    write_json(own / "config.json", read_json(own / "config.json") | {"num_attention_heads": 3})
    with pytest.raises(BrokenArtifact):
        LanguageModel.load(own, tiny_store)
    write_json(own / "config.json", {"model_type": "llama"})
    with pytest.raises(BrokenArtifact, match="GPT-NeoX"):
        LanguageModel.load(own, tiny_store)


def test_missing_parts(tiny_store: Path, own: Path) -> None:
    (own / "tokenizer.json").unlink()
    with pytest.raises(NotFound, match=r"tokenizer\.json"):
        LanguageModel.load(own, tiny_store)
    (own / "tokenizer.json").write_text("{")
    with pytest.raises(BrokenArtifact, match=r"tokenizer\.json"):
        LanguageModel.load(own, tiny_store)
    with pytest.raises(NotFound):
        LanguageModel.load(own / "nowhere", tiny_store)


def test_context_is_the_recorded_one(tiny_store: Path, own: Path) -> None:
    assert LanguageModel.load(own, tiny_store).context == 128
    history = read_json(own / "history.json")
    history["recipe"]["context"] = 9
    write_json(own / "history.json", history)
    model = LanguageModel.load(own, tiny_store)
    assert model.context == 9
    assert model.hidden("a" * 50).shape[0] == 9


class TestResolution:
    """The space-first audit (prism-method §6.3)."""

    def test_space_first(self, folder: Path) -> None:
        tokenizer = load_tokenizer(folder)
        spaced = encode(tokenizer, " water")
        assert len(spaced) == 1
        assert resolve_token(tokenizer, "water") == spaced[0]
        assert resolve_token(tokenizer, " water") == spaced[0]

    def test_bare_form_where_the_spaced_one_is_no_token(self, folder: Path) -> None:
        tokenizer = load_tokenizer(folder)
        assert len(encode(tokenizer, " Z")) == 2
        assert resolve_token(tokenizer, "Z") == encode(tokenizer, "Z")[0]
        with pytest.raises(InvalidValue):
            resolve_token(tokenizer, " Z")

    def test_several_tokens_are_named(self, folder: Path) -> None:
        with pytest.raises(InvalidValue, match=r"is 3 tokens \('x', 'y', 'z'\)"):
            resolve_token(load_tokenizer(folder), "xyz")

    def test_the_empty_target(self, folder: Path) -> None:
        with pytest.raises(InvalidValue, match="empty"):
            resolve_token(load_tokenizer(folder), "")

    def test_a_lone_surrogate(self, folder: Path) -> None:
        with pytest.raises(InvalidValue, match=r"character 1 .*U\+D800"):
            resolve_token(load_tokenizer(folder), "a\ud800")


class TestPieces:
    """The same audit with a SentencePiece-style tokenizer, whose spaces are `▁`."""

    def test_space_first(self) -> None:
        tokenizer = spaced_tokenizer()
        the = tokenizer.token_to_id("▁the")
        assert the is not None
        assert resolve_token(tokenizer, "the") == resolve_token(tokenizer, " the") == the
        assert (draw_token(tokenizer, the), plain_token(tokenizer, the)) == ("␣the", " the")

    def test_bare_form_where_the_spaced_one_is_no_token(self) -> None:
        tokenizer = spaced_tokenizer()
        assert tokenizer.token_to_id("▁C") is None
        assert resolve_token(tokenizer, "C") == tokenizer.token_to_id("C")

    def test_several_tokens_are_named(self) -> None:
        with pytest.raises(InvalidValue, match=r"is 3 tokens \('x', '6', '9'\)"):
            resolve_token(spaced_tokenizer(), "x69")

    def test_special_tokens_are_not_added_to_a_target(self) -> None:
        tokenizer = spaced_tokenizer()
        assert encode(tokenizer, "C") == [tokenizer.token_to_id("C")]
        assert draw_tokens(tokenizer, tokenizer.encode("é").ids) == "<bos>é"


def test_every_token_has_a_text(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    assert all(draw_token(tokenizer, t).isprintable() for t in range(V))
    assert draw_token(tokenizer, V) == f"⟨row {V}⟩"
    water = resolve_token(tokenizer, "water")
    assert (draw_token(tokenizer, water), plain_token(tokenizer, water)) == ("␣water", " water")
    assert draw_tokens(tokenizer, encode(tokenizer, "é 🌊\u202e")) == "é␣🌊⟨U+202E⟩"
