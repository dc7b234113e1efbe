"""One language model at one step, for live prompts, and its tokenizer.

A bundle's model is put together from its parts: the architecture of `config.json`, the body of
`step<N>.safetensors`, and the two embeddings from the snapshots, so that a matrix is kept once.
A released model lies whole in `whole/step<N>/` and is loaded by `atlas.language_model_files`.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from atlas.artifacts import load_snapshot
from atlas.errors import BrokenArtifact, InvalidValue, NotFound
from atlas.head_rows import text_settings
from atlas.language_model_files import head_product, load_whole, read_config
from atlas.tensor_files import load_tensors, read_json
from atlas.token_bytes import piece_bytes, spells_pieces, token_bytes
from atlas.vocabulary import show_token

CONTEXT = 128
"""Tokens read at once where a model does not record its own; longer prompts keep their last."""

LONGEST = 2048
"""Most tokens that a released model is asked about at once."""
PROBE = "The water of the river runs to the sea; 12 of them, then none."
"""What a released model is asked before it is believed."""

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
    """Steps at which the whole model is kept, in either form, rising."""
    model_dir = Path(model_dir)
    found = (re.fullmatch(r"step(\d+)\.safetensors", p.name) for p in model_dir.glob("step*"))
    whole = (
        re.fullmatch(r"step(\d+)", p.parent.name)
        for p in model_dir.glob("whole/step*/config.json")
    )
    return sorted({int(match.group(1)) for match in (*found, *whole) if match})


def step_path(model_dir: Path, step: int) -> Path:
    """What holds the model of a step: a hub-layout folder, or a bundle's file of the body."""
    whole = Path(model_dir) / "whole" / f"step{step}"
    return whole if whole.is_dir() else Path(model_dir) / f"step{step}.safetensors"


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


def opening_of(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The tokens that a tokenizer puts before every text by its own default, such as `<bos>`.

    Its post-processor decides, as in the transformers library (prism-method section 14, trap 20).
    """
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    full = tokenizer.encode("a").ids
    starts = (i for i in range(len(full)) if full[i : i + len(bare)] == bare)
    return tuple(full[: next(starts, 0)])


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
    pieces = [plain_token(tokenizer, i) for i in ids[:12]]
    more = ", …" if len(ids) > len(pieces) else ""
    raise InvalidValue(
        f"target {text[:60]!r} is {len(ids)} tokens ({', '.join(map(repr, pieces))}{more}), not "
        f"one; name a single token, for example {pieces[0]!r}"
    )


@lru_cache(maxsize=8)
def _spelling(tokenizer: Tokenizer) -> tuple[bool, dict[int, tuple[str, bool]]]:
    """Whether its pieces are SentencePiece-style, and its added tokens: text, special or not."""
    parts = (tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder)
    pieces = spells_pieces(*(json.loads(p.__getstate__()) for p in parts if p is not None))
    added = tokenizer.get_added_tokens_decoder().items()
    return pieces, {index: (token.content, token.special) for index, token in added}


def token_raw(tokenizer: Tokenizer, token: int) -> bytes | None:
    """The bytes of a token; None for a row of the matrix that the tokenizer never uses."""
    name = tokenizer.id_to_token(token)
    if name is None:
        return None
    pieces, added = _spelling(tokenizer)
    content, special = added.get(token, (None, False))
    if content is not None and (special or not pieces):
        return content.encode("utf8")
    return piece_bytes(name) if pieces else token_bytes(name)


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


def _check_rows(tokenizer: Tokenizer, rows: int, said_by: Path) -> None:
    """A tokenizer with more ids than the head has rows is another model's."""
    last = max(tokenizer.get_vocab().values(), default=-1)
    if last >= rows:
        raise BrokenArtifact(
            f"{said_by / 'tokenizer.json'} has token {last}, but the model's head has {rows} rows; "
            "the tokenizer is another model's"
        )


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
    """A language model at one step, ready to answer."""

    step: int
    """Pretraining step of body and embeddings; 0 for a finished model without steps."""
    tokenizer: Tokenizer
    module: torch.nn.Module
    """The model with its head, of a class of the transformers library."""
    context: int
    """Most tokens it is asked about at once."""
    opening: tuple[int, ...] = ()
    """Tokens put before every prompt, by the tokenizer's own default; none for a bundle's model."""
    softcap: float | None = None
    """Its own logits are cap * tanh(h . row / cap); None: they are h . row."""
    tied: bool = False
    """Its head is its input embedding."""
    precision: str = "float32"
    """What the body runs in; scores are float32 or finer either way."""
    left_unread: tuple[str, ...] = ()
    """Tensors of its files that it has no place for, such as a vision tower's."""

    @classmethod
    def load(
        cls, model_dir: Path, store_dir: Path, step: int | None = None, device: str = "cpu"
    ) -> "LanguageModel":
        """Build the model of a folder at `step`, the last kept one when None.

        Args:
            model_dir: `models/<label>` of a store.
            store_dir: the store that holds the snapshots of a bundle's embeddings.
            step: one of `full_steps(model_dir)`.
            device: where it runs.

        Raises:
            NotFound: no model, or no whole model at that step.
            BrokenArtifact: a parameter is missing, too many or of another shape, none is
            invented; or the model is not what it claims to be (`atlas.language_model_files`).
        """
        model_dir = Path(model_dir)
        if not model_dir.is_dir():
            raise NotFound(f"{model_dir} is not there, so there is no language model to ask")
        steps = full_steps(model_dir)
        if not steps:
            raise NotFound(
                f"{model_dir} holds no whole model, neither step<N>.safetensors nor "
                "whole/step<N>/, so no prompt can be read"
            )
        if step is None:
            step = steps[-1]
        if step not in steps:
            raise NotFound(f"{model_dir} keeps no whole model at step {step}; kept are {steps}")
        path = step_path(model_dir, step)
        load = cls._load_whole if path.is_dir() else cls._load_bundle
        return load(model_dir, Path(store_dir), path, step, device)

    @classmethod
    def _load_whole(
        cls, model_dir: Path, store_dir: Path, path: Path, step: int, device: str
    ) -> "LanguageModel":
        tokenizer = load_tokenizer(model_dir)
        rows = text_settings(read_config(path / "config.json")).get("vocab_size")
        if type(rows) is int:
            _check_rows(tokenizer, rows, model_dir)
        opening = opening_of(tokenizer)
        probe = [*opening, *encode(tokenizer, PROBE)]
        whole = load_whole(path, probe, device)
        head = whole.module.get_output_embeddings().weight
        _check_rows(tokenizer, len(head), model_dir)
        limit = getattr(whole.module.config.get_text_config(), "max_position_embeddings", LONGEST)
        return cls(
            step, tokenizer, whole.module, min(LONGEST, limit), opening, whole.softcap,
            whole.tied, whole.precision, whole.left_unread,
        )

    @classmethod
    def _load_bundle(
        cls, model_dir: Path, store_dir: Path, path: Path, step: int, device: str
    ) -> "LanguageModel":
        config = _read_config(model_dir)
        weights = {
            name: tensor
            for name, tensor in load_tensors(path).items()
            if name not in EMBEDDINGS and name != OLD_HEAD
        }
        name = model_name_of(model_dir)
        for parameter, matrix in EMBEDDINGS.items():
            weights[parameter] = load_snapshot(store_dir, name, step, matrix)
        module = _build(config, weights, path).to(device)
        tokenizer = load_tokenizer(model_dir)
        _check_rows(tokenizer, len(weights["lm_head.weight"]), model_dir)
        return cls(step, tokenizer, module, _context(model_dir, config))

    def read(self, text: str) -> tuple[list[int], str | None]:
        """The tokens that the model reads of a text, and what was done to it, None if nothing.

        The opening is put before it; of a text that is too long the last tokens are kept.

        Raises:
            InvalidValue: no text is left, or it is not valid Unicode.
        """
        ids = encode(self.tokenizer, text)
        if not ids:
            raise InvalidValue("the prompt holds no token; write some text")
        notes, room = [], self.context - len(self.opening)
        if self.opening:
            first = draw_tokens(self.tokenizer, list(self.opening))
            notes.append(f"the model reads {first} before the prompt, as its tokenizer puts it")
        if len(ids) > room:
            notes.append(f"the prompt is {len(ids):,} tokens long; the model reads the last {room}")
        return [*self.opening, *ids[-room:]], "; ".join(notes) or None

    @property
    def head_shape(self) -> tuple[int, int]:
        """(V, d) of its head."""
        return tuple(self.module.get_output_embeddings().weight.shape)

    @torch.inference_mode()
    def logits_of(self, h: Tensor) -> Tensor:
        """h . row for a hidden state (d,) and every row of the model's own head, (V,) float32."""
        head = self.module.get_output_embeddings().weight
        return head_product(head, h.to(head.device)[None])[0].cpu()

    def head_rows(self, tokens: list[int]) -> Tensor:
        """Rows of the model's own head, (n, d) float32 on the CPU."""
        return self.module.get_output_embeddings().weight[tokens].float().cpu()

    def token_id(self, text: str) -> int:
        """The single token that `text` names; see `resolve_token`."""
        return resolve_token(self.tokenizer, text)

    def hidden(self, text: str) -> Tensor:
        """What the head reads at every position of a text, (T, d) float32 on the CPU."""
        return self.hidden_of(self.read(text)[0])

    def hidden_of(self, ids: list[int]) -> Tensor:
        """What the head reads at every position of some tokens: the final norm's output, (T, d)."""
        return self.hidden_of_many([ids])[0]

    @torch.inference_mode()
    def hidden_of_many(self, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
        """The same of several prompts in one pass, (T, d) float32 on the CPU each.

        Shorter ones are filled up behind their end, where a causal model does not look, so no
        mask is needed.
        """
        if not all(prompts):
            raise InvalidValue("the prompt holds no token; write some text")
        device = next(self.module.parameters()).device
        ids = torch.zeros(len(prompts), max(map(len, prompts)), dtype=torch.long)
        for row, prompt in zip(ids, prompts, strict=True):
            row[: len(prompt)] = torch.tensor(prompt)
        states = self.module.base_model(input_ids=ids.to(device)).last_hidden_state
        lengths = map(len, prompts)
        return [s[:n].float().cpu() for s, n in zip(states, lengths, strict=True)]


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
