"""The door to transformers: one GPT-NeoX language model at one step, for live prompts.

A model is put together from a bundle's parts: the architecture of `config.json`, the body of
`step<N>.safetensors`, and the two embeddings from the snapshots, so that a matrix is kept once.
`from_pretrained` is not used: it fills a missing head with random numbers and says nothing.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from atlas.artifacts import load_snapshot
from atlas.errors import BrokenArtifact, InvalidValue, NotFound
from atlas.tensor_files import load_tensors, read_json
from atlas.vocabulary import show_token, token_bytes

CONTEXT = 128
"""Tokens read at once where a model does not record its own; longer prompts keep their last."""

EMBEDDINGS = {"gpt_neox.embed_in.weight": "W_E", "lm_head.weight": "W_U"}
"""Parameters that come from the snapshots, under the names transformers gives them."""

OLD_HEAD = "embed_out.weight"
"""What released GPT-NeoX files call `lm_head.weight`."""

SETTINGS = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "hidden_act", "max_position_embeddings", "layer_norm_eps", "use_parallel_residual",
    "attention_bias", "rope_parameters", "rotary_pct", "rotary_emb_base", "bos_token_id",
    "eos_token_id",
)
"""Fields of `config.json` that describe the architecture; every other field is left unread."""


def full_steps(model_dir: Path) -> list[int]:
    """Steps at which the whole model is kept, rising."""
    names = (re.fullmatch(r"step(\d+)\.safetensors", p.name) for p in Path(model_dir).glob("step*"))
    return sorted(int(match.group(1)) for match in names if match)


def model_name_of(model_dir: Path) -> str:
    """The model id that its snapshots are filed under: `model_name` of `config.json`."""
    config = _read_config(Path(model_dir))
    return config.get("model_name") or f"readout-atlas/{Path(model_dir).name}"


@lru_cache(maxsize=8)
def _tokenizer(path: Path, modified: int) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower than Exception
        raise BrokenArtifact(f"{path} is not a tokenizer ({error})") from error


def load_tokenizer(model_dir: Path) -> Tokenizer:
    """The tokenizer of a model folder; loaded once per file and kept."""
    path = Path(model_dir) / "tokenizer.json"
    if not path.is_file():
        raise NotFound(f"{path} is not there; `readout-atlas build demo` restores the bundle")
    return _tokenizer(path.resolve(), path.stat().st_mtime_ns)


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Token ids of a text, nothing added.

    Raises:
        InvalidValue: the text holds a lone surrogate, which no UTF-8 text can.
    """
    _check_unicode(text)
    return tokenizer.encode(text, add_special_tokens=False).ids


def _check_unicode(text: str) -> None:
    try:
        text.encode("utf8")
    except UnicodeEncodeError as error:
        raise InvalidValue(
            f"the text is not valid Unicode at character {error.start} (a lone surrogate, "
            f"U+{ord(text[error.start]):04X}); remove that character"
        ) from error


def resolve_token(tokenizer: Tokenizer, text: str) -> int:
    """The single token that a text names, by the space-first audit (prism-method section 6.3).

    `" " + text` is tried before `text`; a text that starts with a space is only tried as it is.

    Raises:
        InvalidValue: the text is empty or is several tokens; the pieces are named.
    """
    if not text:
        raise InvalidValue("a target is empty; give a token such as ' the'")
    _check_unicode(text)
    forms = [text] if text.startswith(" ") else [" " + text, text]
    for form in forms:
        ids = encode(tokenizer, form)
        if len(ids) == 1:
            return ids[0]
    pieces = [tokenizer.decode([i], skip_special_tokens=False) for i in ids[:12]]
    more = ", …" if len(ids) > len(pieces) else ""
    raise InvalidValue(
        f"target {text[:60]!r} is {len(ids)} tokens ({', '.join(map(repr, pieces))}{more}), not "
        f"one; name a single token, for example {pieces[0]!r}"
    )


def token_raw(tokenizer: Tokenizer, token: int) -> bytes | None:
    """The bytes of a token; None for a row of the matrix that the tokenizer never uses."""
    name = tokenizer.id_to_token(token)
    return None if name is None else token_bytes(name)


def draw_token(tokenizer: Tokenizer, token: int) -> str:
    """How a token is drawn."""
    raw = token_raw(tokenizer, token)
    return f"⟨row {token}⟩" if raw is None else show_token(raw)


def draw_tokens(tokenizer: Tokenizer, tokens: list[int]) -> str:
    """Neighbouring tokens drawn as one text: a character may be split between two of them."""
    return show_token(b"".join(token_raw(tokenizer, token) or b"" for token in tokens))


def plain_token(tokenizer: Tokenizer, token: int) -> str:
    """A token as plain text; as it is drawn if its bytes are no text."""
    raw = token_raw(tokenizer, token)
    try:
        return draw_token(tokenizer, token) if raw is None else raw.decode("utf8")
    except UnicodeDecodeError:
        return draw_token(tokenizer, token)


def _context(model_dir: Path, config: dict[str, Any]) -> int:
    """Tokens of a training sequence as `history.json` records them, else `CONTEXT`."""
    recorded = CONTEXT
    if (model_dir / "history.json").is_file():
        recorded = read_json(model_dir / "history.json").get("recipe", {}).get("context", CONTEXT)
    return min(recorded, config.get("max_position_embeddings", recorded))


def _read_config(model_dir: Path) -> dict[str, Any]:
    if not model_dir.is_dir():
        raise NotFound(f"{model_dir} is not there, so there is no language model to ask")
    config = read_json(model_dir / "config.json")
    if not isinstance(config, dict) or config.get("model_type", "gpt_neox") != "gpt_neox":
        raise BrokenArtifact(f"{model_dir / 'config.json'} does not describe a GPT-NeoX model")
    return config


@dataclass(frozen=True)
class LanguageModel:
    """A language model at one step, in float32, ready to answer."""

    step: int
    """Pretraining step of body and embeddings."""
    tokenizer: Tokenizer
    module: torch.nn.Module
    """The GPTNeoXForCausalLM."""
    context: int
    """Most tokens it is asked about at once."""

    @classmethod
    def load(
        cls, model_dir: Path, store_dir: Path, step: int | None = None, device: str = "cpu"
    ) -> "LanguageModel":
        """Build the model of a folder at `step`, the last kept one when None.

        Args:
            model_dir: `models/<label>` of a store.
            store_dir: the store that holds the snapshots of the embeddings.
            step: one of `full_steps(model_dir)`.
            device: where it runs.

        Raises:
            NotFound: no model, or no whole model at that step.
            BrokenArtifact: a parameter is missing, too many or of another shape; none is invented.
        """
        model_dir = Path(model_dir)
        config = _read_config(model_dir)
        steps = full_steps(model_dir)
        if not steps:
            raise NotFound(f"{model_dir} holds no step<N>.safetensors, so no model can be run")
        if step is None:
            step = steps[-1]
        if step not in steps:
            raise NotFound(f"{model_dir} keeps no whole model at step {step}; kept are {steps}")
        path = model_dir / f"step{step}.safetensors"
        weights = {
            name: tensor
            for name, tensor in load_tensors(path).items()
            if name not in EMBEDDINGS and name != OLD_HEAD
        }
        name = model_name_of(model_dir)
        for parameter, matrix in EMBEDDINGS.items():
            weights[parameter] = load_snapshot(Path(store_dir), name, step, matrix)
        module = _build(config, weights, path).to(device)
        return cls(step, load_tokenizer(model_dir), module, _context(model_dir, config))

    def token_id(self, text: str) -> int:
        """The single token that `text` names; see `resolve_token`."""
        return resolve_token(self.tokenizer, text)

    def hidden(self, text: str) -> Tensor:
        """What the head reads at every position of a text, (T, d) float32 on the CPU."""
        return self.hidden_of(encode(self.tokenizer, text)[-self.context :])

    @torch.inference_mode()
    def hidden_of(self, ids: list[int]) -> Tensor:
        """What the head reads at every position of some tokens: the final norm's output, (T, d)."""
        if not ids:
            raise InvalidValue("the prompt holds no token; write some text")
        device = next(self.module.parameters()).device
        states = self.module.base_model(input_ids=torch.tensor([ids], device=device))
        return states.last_hidden_state[0].float().cpu()


def _build(config: dict[str, Any], weights: dict[str, Tensor], path: Path) -> torch.nn.Module:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM  # seconds to import

    settings = {k: config[k] for k in SETTINGS if config.get(k) is not None}
    try:
        with torch.device("meta"):
            skeleton = GPTNeoXForCausalLM(
                GPTNeoXConfig(**settings, tie_word_embeddings=False, use_cache=False)
            )
    except Exception as error:  # the library's checks raise classes of their own
        reason = " ".join(str(error).split())[:200]
        raise BrokenArtifact(f"{path.parent / 'config.json'} makes no model ({reason})") from error
    expected = {n: tuple(p.shape) for n, p in skeleton.named_parameters()}
    missing, extra = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected)
    if missing or extra:
        fault = f"lacks {missing[0]}" if missing else f"holds {extra[0]}, which the model has not"
        raise BrokenArtifact(f"{path} {fault}; build or fetch the bundle again")
    for name, shape in expected.items():
        if tuple(weights[name].shape) != shape:
            raise BrokenArtifact(
                f"{path}: {name} is {tuple(weights[name].shape)}, but the model wants {shape}"
            )
    rotary = type(skeleton.base_model.rotary_emb)
    skeleton.load_state_dict(weights, strict=True, assign=True)
    skeleton.base_model.rotary_emb = rotary(skeleton.config)  # its buffer is not in the file
    return skeleton.eval().requires_grad_(False)
