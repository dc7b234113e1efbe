"""Releases in small: dictionaries of every kind in the layout and the wrappers of the real ones.

Weights are drawn, not trained; the figures beside them are measured by the slow, obvious way.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas import crosscoder as cc
from atlas.artifacts import GATE, THRESHOLD, snapshot_path
from atlas.prism import ARCHITECTURES, Prism, dense_code, normalise_rows
from atlas.tensor_files import save_tensors

V, D_MODEL, D_SAE = 60, 6, 16
NAME = "EleutherAI/pythia-160m"
PRISM_NAME = "Qwen/Qwen3.5-0.8B"


def raw_rows(step: int, matrix: str = "W_U") -> Tensor:
    """The rows (V, d) that every test has at a step."""
    generator = torch.Generator().manual_seed(7 * step + len(matrix) + (matrix == "W_E"))
    return 0.5 + torch.randn(V, D_MODEL, generator=generator)


def put_snapshots(store: Path, name: str, steps: tuple[int, ...], matrix: str = "W_U") -> None:
    """Snapshots of a model in a store."""
    for step in steps:
        save_tensors(snapshot_path(store, name, step, matrix), {matrix: raw_rows(step, matrix)})


def drawn(snapshots: int, act_fn: str = "jumprelu", seed: int = 0) -> dict[str, Tensor]:
    """Tensors of a crosscoder under the release's names."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    tensors = {
        "W_E": draw(snapshots, D_MODEL, D_SAE) / (snapshots * D_MODEL) ** 0.5,
        "b_E": 0.1 * draw(snapshots, D_SAE) / snapshots,
        "W_D": draw(snapshots, D_SAE, D_MODEL), "b_D": 0.1 * draw(snapshots, D_MODEL),
    }
    if act_fn == "jumprelu":
        tensors[THRESHOLD] = 0.3 * draw(D_SAE) + 0.5
        tensors[THRESHOLD][3] = 9.0  # a dead feature
    if act_fn == "gated":
        tensors |= {name: 0.3 * draw(D_SAE) for name in GATE}
    return tensors


def built(tensors: dict[str, Tensor], act_fn: str, k: int | None) -> cc.Crosscoder:
    """The dictionary of some tensors, without any file."""
    parts = [tensors[name] for name in ("W_E", "b_E", "W_D", "b_D")]
    if act_fn == "jumprelu":
        return cc.Crosscoder(*parts, tensors[THRESHOLD].exp())
    gate = cc.Gate(*(tensors[name] for name in GATE)) if act_fn == "gated" else None
    return cc.Crosscoder(*parts, torch.zeros(D_SAE), act_fn, k, gate)


def slow_figures(c: cc.Crosscoder, x: Tensor, batch: int) -> dict[str, float]:
    """The canonical figures from whole tables of activations, batch by batch (section 6.2)."""
    residual = total = fired = 0.0
    by_feature = torch.zeros(c.n_features)
    for start in range(0, x.shape[1], batch):
        rows = x[:, start : start + batch]
        a = cc.row_activations(c, cc.pre_activations_by_head(c, rows))
        residual += float((cc.decode(c, a) - rows).square().sum())
        total += float(rows.square().sum())
        fired += float((a > 0).sum())
        by_feature += (a > 0).sum(dim=(0, 1))
    pairs = x.shape[0] * x.shape[1]
    return {
        "explained_variance": 1 - residual / total, "mean_l0": fired / pairs,
        "dead_rate": float((by_feature / pairs <= 1e-6).float().mean()),
        "reconstruction_mse": residual / (pairs * x.shape[2]),
    }


def sidecar_of(
    tensors: dict[str, Tensor], steps: tuple[int, ...], act_fn: str, k: int | None, kind: str,
    seed: int, matrix: str = "W_U", batch: int = 32, sparsity: float = 0.3,
) -> dict[str, Any]:
    """What a `.config.json` of the release says (section 5.3)."""
    x = cc.standardize(torch.stack([raw_rows(s, matrix) for s in steps]))[1]
    config: dict[str, Any] = {"d_model": D_MODEL, "d_sae": D_SAE}
    if act_fn == "jumprelu":
        config |= {"act_fn": "jumprelu", "hook_points": [f"wu_step_{i}" for i in range(len(steps))]}
    else:
        config |= {"arch": act_fn, "n_snapshots": len(steps)} | ({"batchtopk_k": k} if k else {})
    return {
        "model_name": NAME, "steps": list(steps), "kind": kind, "seed": seed, "config": config,
        "training": {"lr": 5e-5, "l1_coefficient": sparsity, "batch_size": batch, "n_epochs": 3,
                     "input_preprocess": "center_scale", "tanh_stretch_coefficient": 1.0},
        "quality": slow_figures(built(tensors, act_fn, k), x, batch)
        | {"d_sae": D_SAE, "n_snapshots": len(steps), "n_rows": V},
    }


def write_release(
    folder: Path, run: str, steps: tuple[int, ...], act_fn: str = "jumprelu", kind: str = "",
    seed: int = 0, matrix: str = "W_U", sparsity: float = 0.3,
) -> tuple[Path, Path]:
    """A `.safetensors` dictionary and its sidecar at their release path under a folder."""
    tensors = drawn(len(steps), act_fn)
    k = 3 if act_fn == "batchtopk" else None
    weights = folder / f"{run}.safetensors"
    save_tensors(weights, tensors)
    sidecar = folder / f"{run}.config.json"
    told = sidecar_of(tensors, steps, act_fn, k, kind or run.split("/")[2], seed, matrix,
                      sparsity=sparsity)
    sidecar.write_text(json.dumps(told))
    return weights, sidecar


def drawn_prism(architecture: str = "topk", k: int = 4) -> Prism:
    """A prism over the rows of step 0."""
    random = torch.Generator().manual_seed(5)
    _, mean, norms = normalise_rows(raw_rows(0))
    decoder = torch.randn(D_SAE, D_MODEL, generator=random)
    decoder = decoder / decoder.norm(dim=1, keepdim=True)
    extra = {
        name: torch.tensor(0.2) if name == "activation_threshold"
        else 0.2 * torch.randn(D_SAE, generator=random) - (1.0 if name == "log_threshold" else 0.0)
        for name in ARCHITECTURES[architecture]
    }
    bias = 0.05 * torch.randn(D_SAE, generator=random)
    return Prism(decoder.clone(), bias, decoder, k, mean, norms, architecture, **extra)


def prism_metrics(prism: Prism) -> dict[str, float]:
    """A trainer's `metrics`, by whole tables (prism-method section 5)."""
    x = normalise_rows(raw_rows(0), prism.row_mean)[0]
    code = dense_code(prism, x)
    return {
        "row_centered_ev": float(
            1 - (code @ prism.decoder - x).square().sum() / x.square().sum()
        ),
        "mean_l0": float((code > 0).float().sum(dim=1).mean()),
        "dead_feature_rate": float(((code > 0).sum(dim=0) == 0).float().mean()),
        "val_top1_match": 0.9, "val_logit_kl_bits_mean": 0.1,
    }


def prism_checkpoint(prism: Prism, schema: str, **changes: Any) -> dict[str, Any]:
    """What `checkpoint.pt` holds in a schema (prism-method section 4.1)."""
    state = {"decoder": prism.decoder, "encoder.weight": prism.encoder, "encoder.bias": prism.bias}
    state |= {name: getattr(prism, name) for name in ARCHITECTURES[prism.architecture]}
    factorizer = {"architecture": prism.architecture, "d_features": D_SAE, "k": prism.k}
    if schema == "raw":
        return {"W_dec": prism.decoder, "W_enc": prism.encoder.T.contiguous(),
                "b_enc": prism.bias, "k": prism.k} | changes
    if schema == "archive":
        config = {"factorizer": factorizer, "training": {"steps": 20000, "lr_schedule": "cosine"}}
        return {"model_state_dict": state, "config": config} | changes
    return {
        "model_state_dict": state, "factorizer": factorizer,
        "evaluation": {"k": prism.k, "max_eval_rows": 20000},
        "row_mean": prism.row_mean, "row_norms": prism.row_norms,
        "row_token_ids": torch.arange(V), "metrics": prism_metrics(prism),
    } | changes
