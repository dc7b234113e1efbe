"""Released language models from a hub-layout folder: real classes, nothing invented, nothing run.

`from_pretrained` fills a missing head with random numbers and exits quietly, and a configuration
may name code to fetch (reliability section 0.7, A17 to A20). So the configuration passes a list
of known fields first, every shard's header is read, and what the loader reports missing is fatal.
A model is then asked a probe: it is refused unless its logits are its head times the hidden
state that the atlas reads (prism-method section 1, gates A and B).
"""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.errors import BrokenArtifact, NotFound
from atlas.head_rows import final_softcap, is_tied, matrix_source, text_settings
from atlas.tensor_files import read_header, read_json

MAX_JSON = 20_000_000
"""Bytes of a configuration or an index."""
SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*\.safetensors")
"""What a shard may be called: a name, not a path."""
FULL_PRECISION = 3_000_000_000
"""Parameters up to which a CPU holds a model in float32."""
GATE_A = 1e-4
"""Largest difference of the logits from the head's output, over the largest logit."""
GATE_B = {torch.float32: 1e-4, torch.bfloat16: 5e-3}
"""Largest difference of the head's output from h . row in float32, by what the body runs in."""
BLOCK = 16_384
"""Rows of the head that are multiplied at once."""


@dataclass(frozen=True)
class Family:
    """How a kind of language model is built by the transformers library."""

    model: str
    """Its class."""
    config: str
    """The class of its configuration."""
    text_only: bool = False
    """The text stack alone is built from `text_config`; the other towers stay unread."""
    unread: tuple[str, ...] = ()
    """Parts of the configuration that are left out, and their towers with them."""


FAMILIES = {
    "gpt_neox": Family("GPTNeoXForCausalLM", "GPTNeoXConfig"),
    "olmo2": Family("Olmo2ForCausalLM", "Olmo2Config"),
    "qwen2": Family("Qwen2ForCausalLM", "Qwen2Config"),
    "llama": Family("LlamaForCausalLM", "LlamaConfig"),
    "mistral": Family("MistralForCausalLM", "MistralConfig"),
    "ministral3": Family("Ministral3ForCausalLM", "Ministral3Config"),
    "mistral3": Family("Mistral3ForConditionalGeneration", "Mistral3Config"),
    "qwen3_5_text": Family("Qwen3_5ForCausalLM", "Qwen3_5TextConfig"),
    "qwen3_5": Family("Qwen3_5ForCausalLM", "Qwen3_5TextConfig", text_only=True),
    "gemma4_text": Family("Gemma4ForCausalLM", "Gemma4TextConfig"),
    "gemma4": Family(
        "Gemma4ForConditionalGeneration", "Gemma4Config", unread=("vision_config", "audio_config")
    ),
}
"""`model_type` of `config.json` -> family."""

PARTS = {
    "text_config": tuple(FAMILIES),
    "vision_config": ("pixtral",),
}
"""Parts of a configuration that are read -> the model types they may name."""
IGNORED = (
    "architectures", "chunk_size_feed_forward", "dtype", "id2label", "label2id", "model_name",
    "output_attentions", "output_hidden_states", "problem_type", "return_dict", "torch_dtype",
    "transformers_version", "use_cache", "_name_or_path", "model_type",
)
"""Fields that describe nothing this project uses; they are left out."""
LEGACY = (
    "rope_scaling", "rope_theta", "rotary_pct", "rotary_emb_base", "partial_rotary_factor",
    "layer_types", "per_layer_config", "mamba_ssm_dtype", "mlp_only_layers",
)
"""Fields of older or other files that hold text or tables and are passed on."""


@dataclass(frozen=True)
class Whole:
    """A released language model, built and proven."""

    module: torch.nn.Module
    softcap: float | None
    """Cap of the final logits, None without one."""
    tied: bool
    """The head is the input embedding."""
    precision: str
    """`float32` or `bfloat16`: what the body runs in."""
    left_unread: tuple[str, ...]
    """Tensors of the shards that the model has no place for: towers, heads of other tasks."""


def load_whole(folder: Path, probe: list[int], device: str = "cpu") -> Whole:
    """Build the model of a hub-layout folder, `config.json` and safetensors shards.

    Body in float32 on a CPU up to `FULL_PRECISION` parameters, else in bfloat16.

    Args:
        folder: `models/<label>/whole/step<N>`.
        probe: ids of any short text, which the built model is asked.
        device: where it runs.

    Raises:
        NotFound: the folder, its configuration or a shard is not there.
        BrokenArtifact: another family, a field that could name code, a tensor missing or of
        another shape, a value that is not finite, or logits that are not h . row.
    """
    path = folder / "config.json"
    config = read_config(path)
    family = FAMILIES[config["model_type"]]
    names, count = _shards(folder)
    matrix_source(config, names, "W_U")
    matrix_source(config, names, "W_E")
    full = count <= FULL_PRECISION and torch.device(device).type == "cpu"
    dtype = torch.float32 if full else torch.bfloat16
    module, unexpected = _from_pretrained(folder, family, config, dtype)
    module.eval().requires_grad_(False)
    for name, values in (*module.named_parameters(), *module.named_buffers()):
        # summed as it is cast: a copy of the largest embedding would be gigabytes
        if values.is_floating_point() and not math.isfinite(values.sum(dtype=torch.float64)):
            raise BrokenArtifact(f"{folder}: {name} holds a value that is not finite")
    module.to(device)
    patterns = [re.compile(p) for p in module._keys_to_ignore_on_load_unexpected or ()]
    unread = {*unexpected, *(n for n in names if any(p.search(n) for p in patterns))}
    with _quiet():  # of kernels that are not installed
        cap = prove(module, probe, folder)
    embedding, head = module.get_input_embeddings().weight, module.get_output_embeddings().weight
    return Whole(
        module=module,
        softcap=cap,
        tied=embedding.data_ptr() == head.data_ptr(),
        precision=str(dtype).removeprefix("torch."),
        left_unread=tuple(sorted(unread)),
    )


def read_config(path: Path) -> dict[str, Any]:
    """A released model's `config.json`, of a known family and with known fields only."""
    config = _read_bounded(path)
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise BrokenArtifact(
            f"{path}: model_type is {str(kind)[:40]!r}; language models of {', '.join(FAMILIES)} "
            "are read"
        )
    _check_fields(path, config, FAMILIES[kind])
    return config


def _read_bounded(path: Path) -> dict[str, Any]:
    if path.is_file() and path.stat().st_size > MAX_JSON:
        raise BrokenArtifact(f"{path} has {path.stat().st_size:,} bytes, at most {MAX_JSON:,}")
    found = read_json(path)
    if not isinstance(found, dict):
        raise BrokenArtifact(f"{path} is no table of settings")
    return found


def _check_fields(path: Path, config: Mapping[str, Any], family: Family) -> None:
    """Refuse what could name code, an implementation or another file to be fetched."""
    import transformers  # seconds to import

    base = set(transformers.PreTrainedConfig.__dataclass_fields__)
    skipped = {*family.unread, *(("vision_config",) if family.text_only else ())}
    classes = [family.config]
    for part, kinds in PARTS.items():
        inner = config.get(part)
        if not isinstance(inner, Mapping) or part in skipped:
            continue
        kind = inner.get("model_type")
        if kind is not None and kind not in kinds:
            raise BrokenArtifact(f"{path}: {part} is a {str(kind)[:40]!r}, which is not read")
        if part == "text_config":
            classes += [FAMILIES[k].config for k in ([kind] if kind else kinds)]
    known = {*LEGACY, *IGNORED, "text_config", "vision_config", "audio_config"}
    for each in (getattr(transformers, name) for name in classes):
        known |= set(each.__dataclass_fields__) - base | set(each.attribute_map)
    for field, value in _fields(config, skipped):
        if field.split(".")[-1] not in known and not _is_plain(field.split(".")[-1], value):
            raise BrokenArtifact(
                f"{path}: field {field[:80]} holds {str(value)[:60]!r}; it is not on the list of "
                "known fields and might name code to run, so the model is not loaded"
            )


def _fields(config: Mapping[str, Any], skipped: set[str]) -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if name in skipped:
            continue
        if name in ("text_config", "vision_config", "audio_config") and isinstance(value, Mapping):
            yield from ((f"{name}.{field}", inner) for field, inner in _fields(value, set()))
        yield name, value


def _is_plain(name: str, value: Any) -> bool:
    """Whether an unknown field can only be a setting: numbers, and no private name."""
    if name.startswith("_") or not isinstance(name, str):
        return False
    if isinstance(value, list):
        return all(_is_plain(name, entry) for entry in value)
    return value is None or isinstance(value, bool | int | float)


# --- shards --------------------------------------------------------------------------------------


def shard_names(folder: Path) -> list[str]:
    """The safetensors files of a hub-layout folder: one, or else those of its index.

    In the order in which the library looks, so that what is checked is what is loaded.
    """
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        return ["model.safetensors"]
    if not index.is_file():
        raise NotFound(
            f"{folder} holds no model.safetensors and no index of shards; no other format is "
            "opened, fetch it again"
        )
    table = _read_bounded(index).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise BrokenArtifact(f"{index} has no weight_map")
    found = sorted({str(name) for name in table.values()})
    for name in found:
        if not SHARD.fullmatch(name):
            raise BrokenArtifact(f"{index} names a shard {name[:80]!r}, which is no plain name")
        if not (folder / name).is_file():
            raise NotFound(f"{folder / name} is not there, though {index.name} names it")
    return found


def _shards(folder: Path) -> tuple[list[str], int]:
    """All tensor names of the shards and the number of parameters, from their headers."""
    if (folder / "adapter_config.json").exists():
        raise BrokenArtifact(f"{folder} holds an adapter, which is no whole model")
    names, count = [], 0
    for shard in shard_names(folder):
        header = read_header(folder / shard)
        names += header
        count += sum(torch.Size(entry["shape"]).numel() for entry in header.values())
    return names, count


# --- building ------------------------------------------------------------------------------------


def _from_pretrained(
    folder: Path, family: Family, config: dict[str, Any], dtype: torch.dtype
) -> tuple[torch.nn.Module, list[str]]:
    import transformers

    try:
        settings = _settings(config, family)
        with _quiet():
            module, report = getattr(transformers, family.model).from_pretrained(
                folder,
                config=getattr(transformers, family.config)(**settings),
                dtype=dtype,
                attn_implementation="sdpa",
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # the library's checks raise classes of their own
        reason = " ".join(str(error).split())[:300]
        raise BrokenArtifact(f"{folder} makes no model ({reason}); fetch it again") from error
    for fault in ("missing_keys", "mismatched_keys", "error_msgs"):
        if report.get(fault):
            first = sorted(map(str, report[fault]))[0]
            raise BrokenArtifact(
                f"{folder}: {fault.replace('_', ' ')}: {first[:120]} ({len(report[fault])} in "
                "all); no weight is invented, fetch it again"
            )
    return module, list(report["unexpected_keys"])


def _settings(config: dict[str, Any], family: Family) -> dict[str, Any]:
    """Fields for the configuration's class; the tie is said in every part alike."""
    tied = is_tied(config)

    def part(fields: Mapping[str, Any]) -> dict[str, Any]:
        kept = {k: v for k, v in fields.items() if k not in IGNORED}
        return kept | {"tie_word_embeddings": tied}

    if family.text_only:
        return part(text_settings(config)) | {"use_cache": False}
    settings = part(config) | dict.fromkeys(family.unread)
    inner = config.get("text_config")
    if isinstance(inner, Mapping):
        kind = {"model_type": inner["model_type"]} if "model_type" in inner else {}
        settings["text_config"] = part(inner) | kind | {"use_cache": False}
    else:
        settings["use_cache"] = False
    return settings


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's report and progress bar off stderr: what matters is raised."""
    from transformers.utils import logging

    before, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bar:
            logging.enable_progress_bar()


# --- the probe -----------------------------------------------------------------------------------


@torch.inference_mode()
def prove(module: torch.nn.Module, ids: list[int], said_by: Path) -> float | None:
    """Ask the probe: the logits must be the head times what the atlas reads.

    (A) the model's logits are its head's output, capped where the configuration says so; (B) the
    head's output is h . row in float32, h the last hidden state of the base model, which must
    also be what a hook sees enter the head.

    Returns:
        the cap, None without one.

    Raises:
        BrokenArtifact: a bias, a scale or another transform stands between them.
    """
    config = module.config.to_dict()
    cap, head = final_softcap(config), module.get_output_embeddings()
    if getattr(head, "bias", None) is not None:
        raise BrokenArtifact(f"{said_by}: the head has a bias, which no score accounts for")
    tokens = torch.tensor([ids], device=head.weight.device)
    seen: list[Tensor] = []
    hooks = (
        head.register_forward_pre_hook(lambda _, given: seen.append(given[0])),
        head.register_forward_hook(lambda *given: seen.append(given[2])),
    )
    try:
        logits = module(input_ids=tokens).logits
    finally:
        for hook in hooks:
            hook.remove()
    entered, left = seen
    states = module.base_model(input_ids=tokens).last_hidden_state
    dtype = head.weight.dtype
    capped = left if cap is None else torch.tanh(left / cap) * cap
    product = head_product(head.weight, entered[0].float())
    for gate, found, wanted, limit in (
        ("the last hidden state is not what enters the head", states, entered, GATE_B[dtype]),
        ("the logits are not the head's output", logits, capped, GATE_A),
        ("the head's output is not h . row", left[0], product, GATE_B[dtype]),
    ):
        error = float((found.float() - wanted.float()).abs().max())
        error /= max(float(wanted.float().abs().max()), 1e-9)
        if not error <= limit:
            raise BrokenArtifact(
                f"{said_by}: {gate} (off by {error:.1e} of the largest, at most {limit:.0e}); the "
                "model transforms its logits in a way the atlas does not know"
            )
    return cap


def head_product(head: Tensor, states: Tensor) -> Tensor:
    """h . row for states (T, d) float32 and every row, (T, V) float32, in row blocks."""
    return torch.cat([states @ rows.float().T for rows in head.split(BLOCK)], dim=1)
