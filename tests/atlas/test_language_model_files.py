"""Released language models: every family through its real class, saved and loaded back."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from atlas import language_model_files
from atlas.errors import AtlasError, BrokenArtifact, NotFound
from atlas.language_model import LanguageModel, encode, full_steps, load_tokenizer, opening_of
from atlas.language_model_files import load_whole, prove
from atlas.tensor_files import load_tensors, read_header, read_json, save_tensors, write_json
from tests.families import (
    CAP,
    FAMILIES,
    TIED,
    TOWERS,
    released_model,
    save_hub,
    spaced_tokenizer,
    tiny_family,
)
from tests.tiny import V

TEXT = "the water of life"
IDS = [40, 41, 90, 120, 7, 33]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved Llama; shared, so copy it before damaging it."""
    return save_hub(tmp_path_factory.mktemp("hub"), tiny_family("llama"))


@pytest.fixture
def own(llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(llama, tmp_path / "own"))


def change(path: Path, edit: Callable[[dict], None]) -> None:
    table = read_json(path)
    edit(table)
    write_json(path, table)


class TestFamilies:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_prompts_read_together_are_read_as_alone(self, family: str, tmp_path: Path) -> None:
        """What fills a shorter prompt up stands behind its end, where no family looks."""
        model = LanguageModel.load(
            released_model(tmp_path, "some", 64, tiny_family(family)), tmp_path)
        prompts = [[5, 9, 40, 41, 42, 8], [7], [11, 12, 13]]
        together = model.hidden_of_many(prompts)
        for prompt, states in zip(prompts, together, strict=True):
            torch.testing.assert_close(states, model.hidden_of(prompt), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_saved_and_loaded_back(self, family: str, tmp_path: Path) -> None:
        """Hidden states and logits are those of the model that was saved (prism-method §1)."""
        original = tiny_family(family)
        folder = released_model(tmp_path, "some", 64, original, shards=family == "olmo2")
        assert full_steps(folder) == [64]
        model = LanguageModel.load(folder, tmp_path)
        ids = encode(load_tokenizer(folder), TEXT)
        seen: list[torch.Tensor] = []
        original.get_output_embeddings().register_forward_pre_hook(
            lambda _, given: seen.append(given[0])
        )
        with torch.inference_mode():
            logits = original(input_ids=torch.tensor([ids])).logits[0]
        hidden = model.hidden(TEXT)
        assert hidden.dtype == torch.float32
        torch.testing.assert_close(hidden, seen[0][0])
        raw = torch.stack([model.logits_of(h) for h in hidden])
        assert model.softcap == (CAP if "gemma" in family else None)
        own = raw if model.softcap is None else CAP * torch.tanh(raw / CAP)
        torch.testing.assert_close(own, logits, rtol=1e-4, atol=1e-5)
        assert (model.tied, model.precision, model.opening) == (family in TIED, "float32", ())
        assert model.context == 128
        has_tower = family in TOWERS and family != "mistral3"
        assert any("vis" in name for name in model.left_unread) == has_tower
        head = original.get_output_embeddings().weight
        assert torch.equal(model.head_rows([0, 5, V - 1]), head[[0, 5, V - 1]])

    def test_the_cap_binds(self, tmp_path: Path) -> None:
        """Logits well over the cap pass the gate: the cap is known, not small."""
        original = tiny_family("gemma4_text")
        original.get_output_embeddings().weight.data *= 40
        whole = load_whole(save_hub(tmp_path, original), IDS)
        with torch.inference_mode():
            logits = whole.module(input_ids=torch.tensor([IDS])).logits
        assert 0.9 * CAP < float(logits.abs().max()) <= CAP
        assert whole.softcap == CAP

    def test_half_precision(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Over the limit the body runs in bfloat16; what the head reads is float32 either way."""
        original = tiny_family("qwen2")
        folder = released_model(tmp_path, "some", 0, original)
        monkeypatch.setattr(language_model_files, "FULL_PRECISION", 1000)
        model = LanguageModel.load(folder, tmp_path)
        with torch.inference_mode():
            exact = original.base_model(
                input_ids=torch.tensor([encode(load_tokenizer(folder), TEXT)])
            ).last_hidden_state[0]
        assert model.precision == "bfloat16"
        hidden = model.hidden(TEXT)
        assert hidden.dtype == torch.float32
        torch.testing.assert_close(hidden, exact, rtol=0.1, atol=0.1)

    def test_fields_of_an_older_file(self, tmp_path: Path) -> None:
        """A GPT-NeoX configuration as Pythia's repositories hold it."""
        original = tiny_family("gpt_neox")
        save_hub(tmp_path, original)

        def older(config: dict) -> None:
            rope = config.pop("rope_parameters")
            config |= {"rotary_pct": rope["partial_rotary_factor"], "rotary_emb_base": 10000,
                       "torch_dtype": "float16", "_name_or_path": "somewhere/else"}
            config.pop("dtype", None)

        change(tmp_path / "config.json", older)
        whole = load_whole(tmp_path, IDS)
        with torch.inference_mode():
            one, other = (
                m(input_ids=torch.tensor([IDS])).logits for m in (original, whole.module)
            )
        assert torch.equal(one, other)

    def test_an_extra_tensor_is_listed(self, own: Path) -> None:
        weights = load_tensors(own / "model.safetensors")
        weights["model.layers.9.extra.weight"] = torch.ones(3)
        save_tensors(own / "model.safetensors", weights)
        assert load_whole(own, IDS).left_unread == ("model.layers.9.extra.weight",)


class TestNothingIsInvented:
    @pytest.mark.parametrize("name", ["lm_head.weight", "model.norm.weight",
                                      "model.layers.1.mlp.up_proj.weight"])
    def test_a_missing_tensor(self, own: Path, name: str) -> None:
        weights = load_tensors(own / "model.safetensors")
        del weights[name]
        save_tensors(own / "model.safetensors", weights)
        with pytest.raises(BrokenArtifact, match="W_U|missing keys: " + name.replace(".", r"\.")):
            load_whole(own, IDS)

    def test_another_shape(self, own: Path) -> None:
        weights = load_tensors(own / "model.safetensors")
        weights["model.norm.weight"] = torch.ones(17)
        save_tensors(own / "model.safetensors", weights)
        with pytest.raises(BrokenArtifact, match="makes no model"):
            load_whole(own, IDS)

    def test_a_value_that_is_not_finite(self, own: Path) -> None:
        weights = load_tensors(own / "model.safetensors")
        weights["model.layers.0.mlp.up_proj.weight"][1, 2] = float("nan")
        save_tensors(own / "model.safetensors", weights)
        with pytest.raises(BrokenArtifact, match=r"layers\.0\.mlp\.up_proj\.weight.*not finite"):
            load_whole(own, IDS)

    def test_a_missing_shard(self, tmp_path: Path) -> None:
        folder = save_hub(tmp_path, tiny_family("llama"), shards=True)
        index = read_json(folder / "model.safetensors.index.json")
        assert len(set(index["weight_map"].values())) > 1
        next(folder.glob("model-00002-*")).unlink()
        with pytest.raises(NotFound, match="model-00002"):
            load_whole(folder, IDS)

    @pytest.mark.parametrize("name", ["../../etc/passwd.safetensors", "/tmp/x.safetensors",
                                      "pytorch_model.bin", "a b.safetensors"])
    def test_a_hostile_shard_name(self, own: Path, name: str) -> None:
        (own / "model.safetensors").unlink()
        write_json(own / "model.safetensors.index.json", {"weight_map": {"lm_head.weight": name}})
        with pytest.raises(BrokenArtifact, match="no plain name"):
            load_whole(own, IDS)

    def test_pickles_are_not_opened(self, own: Path) -> None:
        (own / "model.safetensors").unlink()
        torch.save({"lm_head.weight": torch.ones(2)}, own / "pytorch_model.bin")
        with pytest.raises(NotFound, match=r"no model\.safetensors"):
            load_whole(own, IDS)

    def test_a_truncated_file(self, own: Path) -> None:
        raw = (own / "model.safetensors").read_bytes()
        (own / "model.safetensors").write_bytes(raw[:-50])
        with pytest.raises(BrokenArtifact, match="cut short"):
            load_whole(own, IDS)


class TestConfiguration:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("auto_map", {"AutoModelForCausalLM": "evil.Model"}),
            ("_attn_implementation_internal", "someone/kernel"),
            ("attn_implementation", "someone/kernel"),
            ("trust" + "_remote_code", "yes"),
            ("transformers_weights", "other.safetensors"),
            ("quantization_config", {"quant_method": "evil"}),
            ("base_model_tp_plan", {"layers": "x"}),
            ("custom_generate", "someone/code"),
            ("extra_files", ["evil.py"]),
            ("_private", 1),
            ("text_config", {"model_type": "evil"}),
            ("text_config", {"model_type": "llama", "auto_map": {"AutoModel": "evil.Model"}}),
            ("vision_config", {"model_type": "clip"}),
        ],
    )
    def test_a_field_that_could_name_code(self, own: Path, field: str, value: object) -> None:
        change(own / "config.json", lambda config: config.update({field: value}))
        with pytest.raises(BrokenArtifact, match=r"config\.json.*(not on the list|is not read)"):
            load_whole(own, IDS)

    def test_unknown_numbers_are_settings(self, own: Path) -> None:
        change(own / "config.json", lambda config: config.update(
            {"some_new_size": 3, "some_list": [1, 2.5, None], "flag": True}
        ))
        load_whole(own, IDS)

    @pytest.mark.parametrize("kind", ["bert", None, ["llama"]])
    def test_another_family(self, own: Path, kind: object) -> None:
        change(own / "config.json", lambda config: config.update({"model_type": kind}))
        with pytest.raises(BrokenArtifact, match=r"model_type is .*; language models of gpt_neox"):
            load_whole(own, IDS)

    def test_a_configuration_that_makes_no_model(self, own: Path) -> None:
        change(own / "config.json", lambda config: config.update({"num_attention_heads": "two"}))
        with pytest.raises(BrokenArtifact, match="makes no model"):
            load_whole(own, IDS)

    def test_an_oversized_configuration(self, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(language_model_files, "MAX_JSON", 100)
        with pytest.raises(BrokenArtifact, match="at most 100"):
            load_whole(own, IDS)

    @pytest.mark.parametrize("text", ["[1]", "{", "", "7"])
    def test_a_configuration_that_is_no_table(self, tmp_path: Path, text: str) -> None:
        folder = released_model(tmp_path, "some", 0, tiny_family("llama"))
        (folder / "whole" / "step0" / "config.json").write_text(text, encoding="utf8")
        with pytest.raises(BrokenArtifact, match=r"config\.json is n"):
            LanguageModel.load(folder, tmp_path)

    def test_an_adapter(self, own: Path) -> None:
        write_json(own / "adapter_config.json", {"base_model_name_or_path": "someone/model"})
        with pytest.raises(BrokenArtifact, match="adapter"):
            load_whole(own, IDS)


class TestGate:
    """A model whose logits are not its head times what the atlas reads is refused."""

    def test_a_cap_that_the_class_ignores(self, own: Path) -> None:
        change(own / "config.json", lambda config: config.update(final_logit_softcapping=2.0))
        with pytest.raises(BrokenArtifact, match="logits are not the head's output"):
            load_whole(own, IDS)

    def test_a_transform_behind_the_head(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module = tiny_family("qwen2")
        plain = module.forward

        def scaled(**asked: object) -> object:
            answer = plain(**asked)
            answer.logits = answer.logits * 0.99
            return answer

        prove(module, IDS, Path("x"))
        monkeypatch.setattr(module, "forward", scaled)
        with pytest.raises(BrokenArtifact, match="logits are not the head's output"):
            prove(module, IDS, Path("x"))

    def test_a_transform_before_the_head(self) -> None:
        module = tiny_family("qwen2")
        module.lm_head.register_forward_pre_hook(lambda _, given: (given[0] * 1.01,))
        with pytest.raises(BrokenArtifact, match="not what enters the head"):
            prove(module, IDS, Path("x"))

    def test_a_head_that_is_not_linear(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module = tiny_family("qwen2")
        monkeypatch.setattr(module.lm_head, "forward",
                            lambda h: torch.nn.functional.linear(h, module.lm_head.weight) + 0.5)
        with pytest.raises(BrokenArtifact, match=r"not h \. row"):
            prove(module, IDS, Path("x"))

    def test_a_bias(self) -> None:
        module = tiny_family("qwen2")
        module.lm_head.bias = torch.nn.Parameter(torch.zeros(V))
        with pytest.raises(BrokenArtifact, match="bias"):
            prove(module, IDS, Path("x"))


class TestTokenizer:
    def test_another_model_s_tokenizer(self, tmp_path: Path) -> None:
        folder = released_model(tmp_path, "some", 0, tiny_family("llama"))
        table = read_json(folder / "tokenizer.json")
        table["added_tokens"].append(table["added_tokens"][0] | {"id": V, "content": "<more>"})
        (folder / "tokenizer.json").write_text(json.dumps(table), encoding="utf8")
        with pytest.raises(BrokenArtifact, match=f"token {V}, but the model's head has {V} rows"):
            LanguageModel.load(folder, tmp_path)

    def test_the_opening_is_the_tokenizer_s(self, tmp_path: Path) -> None:
        tokenizer = spaced_tokenizer()
        folder = released_model(tmp_path, "some", 0, tiny_family("gemma4_text"), tokenizer)
        model = LanguageModel.load(folder, tmp_path)
        bos = tokenizer.token_to_id("<bos>")
        assert model.opening == opening_of(tokenizer) == (bos,)
        ids, note = model.read("the water")
        assert ids == [bos, *encode(tokenizer, "the water")] == tokenizer.encode("the water").ids
        assert note == "the model reads <bos> before the prompt, as its tokenizer puts it"
        ids, note = model.read("the water" * 200)
        assert len(ids) == model.context == 128
        assert ids[0] == bos
        assert note is not None
        assert "the last 127" in note
        assert opening_of(spaced_tokenizer(opening=False)) == ()

    def test_a_step_without_a_model(self, tmp_path: Path) -> None:
        folder = released_model(tmp_path, "some", 0, tiny_family("llama"))
        with pytest.raises(NotFound, match=r"step 7; kept are \[0\]"):
            LanguageModel.load(folder, tmp_path, 7)


def test_every_fault_is_one_line(own: Path) -> None:
    """Header, configuration, shard: whatever is damaged, one line names the file."""
    raw = (own / "model.safetensors").read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    assert read_header(own / "model.safetensors")
    damages = [raw[:40], b"", raw[:8] + b"{" * length + raw[8 + length :], b"\xff" * 400]
    for damage in damages:
        (own / "model.safetensors").write_bytes(damage)
        with pytest.raises(AtlasError) as caught:
            load_whole(own, IDS)
        assert "\n" not in str(caught.value)
        assert "model.safetensors" in str(caught.value)
