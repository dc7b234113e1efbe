"""Where a hub checkpoint keeps the two matrices, told from its configuration and tensor names.

No model is built and nothing heavy is imported, so a download can name the one shard it needs.
Sources: crosscoder-method section 1.2, prism-method section 1.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from atlas.errors import BrokenArtifact

HEADS = (
    "lm_head.weight",
    "embed_out.weight",
    "language_model.lm_head.weight",
    "model.lm_head.weight",
    "model.language_model.lm_head.weight",
    "text_model.lm_head.weight",
)
"""Names of W_U: plain and GPT-NeoX checkpoints, then text stacks inside multimodal ones."""
EMBEDDINGS = (
    "model.embed_tokens.weight",
    "gpt_neox.embed_in.weight",
    "model.language_model.embed_tokens.weight",
    "language_model.model.embed_tokens.weight",
    "model.language_model.model.embed_tokens.weight",
    "language_model.embed_tokens.weight",
    "text_model.embed_tokens.weight",
)
"""Names of W_E, in the same order of likelihood."""
TIED_BY_DEFAULT = ("gemma4", "gemma4_text")
"""Model types whose configuration leaves the field out when the head is the embedding."""


def text_settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a `config.json` that describes the text stack: all of it, or `text_config`."""
    inner = config.get("text_config")
    return inner if isinstance(inner, Mapping) else config


def is_tied(config: Mapping[str, Any]) -> bool:
    """Whether the head is the input embedding and so is not in the file."""
    said = [
        part["tie_word_embeddings"]
        for part in (config, text_settings(config))
        if isinstance(part.get("tie_word_embeddings"), bool)
    ]
    return any(said) if said else config.get("model_type") in TIED_BY_DEFAULT


def final_softcap(config: Mapping[str, Any]) -> float | None:
    """The cap of `cap * tanh(logit / cap)` behind the head, None without one.

    Raises:
        BrokenArtifact: the cap is no positive number.
    """
    cap = text_settings(config).get("final_logit_softcapping")
    if cap is None:
        return None
    if isinstance(cap, bool) or not isinstance(cap, int | float) or not 0 < cap < float("inf"):
        raise BrokenArtifact(
            f"config.json: final_logit_softcapping is {cap!r:.40}, expected a positive number"
        )
    return float(cap)


def matrix_source(config: Mapping[str, Any], tensor_names: Iterable[str], matrix: str) -> str:
    """Name of the tensor that holds W_U or W_E in a hub checkpoint.

    Args:
        config: the checkpoint's `config.json`.
        tensor_names: tensors of all its shards (of the index's `weight_map`, or of one header).
        matrix: `W_U` or `W_E`.

    Returns:
        one of `tensor_names`; of a tied head the embedding's name (`is_tied` tells which it is).

    Raises:
        BrokenArtifact: it is not there, or the head has a bias, which no score accounts for; the
        line names what was looked for.
    """
    names = set(tensor_names)
    if matrix not in ("W_U", "W_E"):
        raise ValueError(f"no matrix {matrix!r}; there are W_U and W_E")
    embedding = next((name for name in EMBEDDINGS if name in names), None)
    if matrix == "W_E":
        if embedding is None:
            raise BrokenArtifact(_missing("W_E", EMBEDDINGS, names))
        return embedding
    biased = [n for n in (name.removesuffix("weight") + "bias" for name in HEADS) if n in names]
    if biased:
        raise BrokenArtifact(
            f"the checkpoint's head has a bias, {biased[0]}; a score is h . row and cannot hold it"
        )
    head = next((name for name in HEADS if name in names), None)
    if head is not None:
        return head
    if is_tied(config) and embedding is not None:
        return embedding
    tied = " and config.json does not tie it to the embedding" if not is_tied(config) else ""
    raise BrokenArtifact(_missing("W_U", HEADS, names) + tied)


def _missing(matrix: str, wanted: tuple[str, ...], names: set[str]) -> str:
    held = ", ".join(sorted(names)[:6]) or "nothing"
    return (
        f"the checkpoint holds no {matrix}: looked for {', '.join(wanted)} among {len(names)} "
        f"tensors ({held}, ...)"
    )
