"""Where a checkpoint keeps W_U and W_E, told from names alone."""

from pathlib import Path

import pytest
import torch

from atlas.errors import BrokenArtifact
from atlas.head_rows import final_softcap, is_tied, matrix_source
from atlas.tensor_files import TensorFile, read_json
from tests.families import CAP, FAMILIES, TIED, save_hub, tiny_family

BODY = ["model.layers.0.mlp.up_proj.weight", "model.norm.weight"]


@pytest.mark.parametrize(
    ("names", "config", "head", "embedding"),
    [
        (["embed_out.weight", "gpt_neox.embed_in.weight"], {"model_type": "gpt_neox"},
         "embed_out.weight", "gpt_neox.embed_in.weight"),
        (["lm_head.weight", "model.embed_tokens.weight"], {"model_type": "olmo2"},
         "lm_head.weight", "model.embed_tokens.weight"),
        (["model.embed_tokens.weight"], {"model_type": "qwen2", "tie_word_embeddings": True},
         "model.embed_tokens.weight", "model.embed_tokens.weight"),
        (["model.language_model.embed_tokens.weight", "model.visual.patch_embed.proj.weight"],
         {"model_type": "qwen3_5", "text_config": {"tie_word_embeddings": True}},
         "model.language_model.embed_tokens.weight", "model.language_model.embed_tokens.weight"),
        (["language_model.model.embed_tokens.weight", "language_model.lm_head.weight"],
         {"model_type": "mistral3"},
         "language_model.lm_head.weight", "language_model.model.embed_tokens.weight"),
        (["model.language_model.embed_tokens.weight"], {"model_type": "gemma4"},
         "model.language_model.embed_tokens.weight", "model.language_model.embed_tokens.weight"),
        # tied by its configuration, but a head is there: the head is the head
        (["lm_head.weight", "model.embed_tokens.weight"], {"tie_word_embeddings": True},
         "lm_head.weight", "model.embed_tokens.weight"),
    ],
)
def test_names(names: list[str], config: dict, head: str, embedding: str) -> None:
    assert matrix_source(config, [*names, *BODY], "W_U") == head
    assert matrix_source(config, [*names, *BODY], "W_E") == embedding


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_as_its_class_saves_it(family: str, tmp_path: Path) -> None:
    """The named tensor is the module's own head, whatever a file calls it."""
    module = tiny_family(family)
    folder = save_hub(tmp_path, module)
    file, config = TensorFile(folder / "model.safetensors"), read_json(folder / "config.json")
    head = file.read(matrix_source(config, file.names, "W_U"))
    assert torch.equal(head, module.get_output_embeddings().weight)
    rows = file.read(matrix_source(config, file.names, "W_E"))
    assert torch.equal(rows, module.get_input_embeddings().weight)
    assert is_tied(config) == (family in TIED)
    assert final_softcap(config) == (CAP if "gemma" in family else None)


def test_a_missing_head_is_named() -> None:
    with pytest.raises(BrokenArtifact, match=r"no W_U: looked for lm_head\.weight.*does not tie"):
        matrix_source({"tie_word_embeddings": False}, ["model.embed_tokens.weight"], "W_U")
    with pytest.raises(BrokenArtifact, match="no W_U"):
        matrix_source({"tie_word_embeddings": True}, BODY, "W_U")
    with pytest.raises(BrokenArtifact, match="no W_E"):
        matrix_source({}, ["lm_head.weight"], "W_E")
    with pytest.raises(ValueError, match="W_Q"):
        matrix_source({}, [], "W_Q")


def test_a_head_with_a_bias() -> None:
    names = ["lm_head.weight", "lm_head.bias", "model.embed_tokens.weight"]
    with pytest.raises(BrokenArtifact, match=r"bias, lm_head\.bias"):
        matrix_source({}, names, "W_U")
    assert matrix_source({}, names, "W_E") == "model.embed_tokens.weight"


@pytest.mark.parametrize("cap", [0, -1.0, float("inf"), float("nan"), "30", True])
def test_a_cap_that_is_none(cap: object) -> None:
    with pytest.raises(BrokenArtifact, match="final_logit_softcapping"):
        final_softcap({"text_config": {"final_logit_softcapping": cap}})
