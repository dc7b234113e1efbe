"""One tiny language model of every released family, of its real class, in a hub's layout.

Random weights, 320 tokens, width 16: what a download brings, a thousandth of a percent as large.
"""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from tests.tiny import TEXT, V, make_tokenizer

WIDTH = 16
SIZES: dict[str, Any] = {
    "vocab_size": V, "hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "max_position_embeddings": 128, "bos_token_id": 0, "eos_token_id": 0,
    "pad_token_id": 1,
}
GROUPED = SIZES | {"num_key_value_heads": 1}
CAP = 30.0
FAMILIES = (
    "gpt_neox", "olmo2", "qwen2", "qwen2-tied", "llama", "ministral3", "mistral3", "qwen3_5",
    "qwen3_5-large", "gemma4", "gemma4_text",
)
TIED = ("qwen2-tied", "qwen3_5", "gemma4", "gemma4_text")
TOWERS = ("mistral3", "qwen3_5", "qwen3_5-large", "gemma4")
"""Text stacks inside a multimodal class."""


def tiny_family(name: str, seed: int = 0, width: int = WIDTH) -> torch.nn.Module:
    """A model of a family with random weights, ready to be saved."""
    import transformers as t

    sizes = GROUPED | {"hidden_size": width}
    text = {"head_dim": 8, **sizes}
    rope = {"rope_type": "default", "rope_theta": 1e4}
    build = {
        "gpt_neox": lambda: t.GPTNeoXForCausalLM(
            t.GPTNeoXConfig(**(SIZES | {"hidden_size": width}))
        ),
        "olmo2": lambda: t.Olmo2ForCausalLM(t.Olmo2Config(**sizes)),
        "qwen2": lambda: t.Qwen2ForCausalLM(t.Qwen2Config(**sizes)),
        "qwen2-tied": lambda: t.Qwen2ForCausalLM(
            t.Qwen2Config(**sizes, tie_word_embeddings=True)
        ),
        "llama": lambda: t.LlamaForCausalLM(t.LlamaConfig(**sizes)),
        "ministral3": lambda: t.Ministral3ForCausalLM(
            t.Ministral3Config(**text, rope_parameters=rope | {"llama_4_scaling_beta": 0.1,
                                                               "original_max_position_embeddings":
                                                               128})
        ),
        "mistral3": lambda: _mistral3(text, rope),
        "qwen3_5": lambda: _qwen3_5(text, tied=True),
        "qwen3_5-large": lambda: _qwen3_5(text, tied=False),
        "gemma4": lambda: _gemma4(text),
        "gemma4_text": lambda: t.Gemma4ForCausalLM(t.Gemma4TextConfig(**_gemma4_text(text))),
    }[name]
    module = build().eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data.normal_(0, 0.3, generator=generator)
    return module


def _mistral3(text: dict[str, Any], rope: dict[str, Any]) -> torch.nn.Module:
    import transformers as t

    inner = t.Ministral3Config(**text, rope_parameters=rope | {
        "llama_4_scaling_beta": 0.1, "original_max_position_embeddings": 128})
    vision = {"model_type": "pixtral", "hidden_size": 16, "intermediate_size": 32,
              "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
              "patch_size": 14, "head_dim": 8}
    return t.Mistral3ForConditionalGeneration(t.Mistral3Config(
        text_config=inner.to_dict(), vision_config=vision, tie_word_embeddings=False
    ))


def _qwen3_5(text: dict[str, Any], tied: bool) -> torch.nn.Module:
    import transformers as t

    inner = text | {
        "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2,
        "linear_num_value_heads": 2, "layer_types": ["linear_attention", "full_attention"],
        "tie_word_embeddings": tied,
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2,
              "out_hidden_size": text["hidden_size"], "num_position_embeddings": 16,
              "patch_size": 4}
    return t.Qwen3_5ForConditionalGeneration(t.Qwen3_5Config(
        text_config=inner, vision_config=vision, tie_word_embeddings=tied
    ))


def _gemma4_text(text: dict[str, Any]) -> dict[str, Any]:
    return text | {
        "num_hidden_layers": 4, "num_kv_shared_layers": 2, "global_head_dim": 16,
        "layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 3,
        "final_logit_softcapping": CAP, "vocab_size_per_layer_input": V,
        "hidden_size_per_layer_input": 4,
    }


def _gemma4(text: dict[str, Any]) -> torch.nn.Module:
    import transformers as t

    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
              "num_attention_heads": 2, "head_dim": 8, "num_key_value_heads": 2}
    return t.Gemma4ForConditionalGeneration(t.Gemma4Config(
        text_config=_gemma4_text(text), vision_config=vision, image_token_id=V - 1,
        video_token_id=V - 2, audio_token_id=V - 3, boi_token_id=V - 4, eoi_token_id=V - 5,
        boa_token_id=V - 6, eoa_token_index=V - 7,
    ))


def save_hub(folder: Path, module: torch.nn.Module, shards: bool = False) -> Path:
    """Write a model as a hub repository holds it: configuration, safetensors, an index of shards.

    The library's progress bar is kept off the test's output.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    module.save_pretrained(folder, max_shard_size="20KB" if shards else "1GB")
    return folder


def spaced_tokenizer(opening: bool = True) -> Tokenizer:
    """A tokenizer like Gemma's: `▁` for a space, byte fallback, `<bos>` before every text."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=V - 256, min_frequency=1, show_progress=False,
        special_tokens=["<pad>", "<eos>", "<bos>", "<unk>"],
    )
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    table = json.loads(tokenizer.to_str())
    for byte in range(256):
        table["model"]["vocab"][f"<0x{byte:02X}>"] = V - 256 + byte
    state = Tokenizer.from_str(json.dumps(table))
    state.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    if opening:
        state.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", state.token_to_id("<bos>"))]
        )
    return state


def released_model(store: Path, label: str, step: int, module: torch.nn.Module,
                   tokenizer: Tokenizer | None = None, shards: bool = False) -> Path:
    """`models/<label>` of a store with one released model in it; returns that folder."""
    folder = store / "models" / label
    save_hub(folder / "whole" / f"step{step}", module, shards)
    (tokenizer or make_tokenizer()).save(str(folder / "tokenizer.json"))
    text = (folder / "whole" / f"step{step}" / "config.json").read_text(encoding="utf8")
    (folder / "config.json").write_text(text, encoding="utf8")
    return folder
