"""Train a small crosscoder with llamascopium itself and save it in the release layout.

llamascopium brings 92 packages that do not fit beside ours, so it lives in an environment of its
own: `python3 -m venv PEER; PEER/bin/pip install torch==2.13.0 llamascopium==2.0.0b34
"transformer-lens<4"` (its own pin is open, and version 4 of transformer-lens has no
HookedTransformer). Then `PEER/bin/python tests/peers/llamascopium_release.py OUT` writes, in about
a minute, what `tests/fixtures/llamascopium` holds. Nothing of ours is imported: encoding, decoding
and the reconstruction loss are the library's, the figures are those of crosscoder-method section 6
spelled out over its activations.
"""

import json
import random
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from llamascopium.models.crosscoder import Crosscoder, CrosscoderConfig
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

LABEL, NAME = "peer-tiny", "readout-atlas/peer-tiny"
STEPS = [0, 4, 32, 256, 1000, 4000]
V, D_MODEL, D_SAE, BATCH, EPOCHS, SEED = 520, 16, 64, 128, 300, 0
TOKENS = 480
"""The tokenizer's size; the rows after it are padding."""
TEXT = (
    "the of and to in is that it was for on are as with his they be at one have this from or had "
    "by hot word but what some we can out other were all there when up use your how said an each "
    "she which do their time if will way about many then them write would like so these her long "
    "make thing see him two has look more day could go come did number sound no most people my "
    "over know water than call first who may down side been now find any new work part take get "
    "place made live where after back little only round man year came show every good me give our "
    "under name very through just form sentence great think say help low line differ turn cause "
    "much mean before move right boy old too same tell does set three want air well also play "
    "small end put home read hand port large spell add even land here must big high such follow"
)


def make_tokenizer() -> Tokenizer:
    """A byte-level BPE over shuffled common words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS, special_tokens=["<|endoftext|>"], min_frequency=1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False,
    )
    rng = random.Random(SEED)
    lines = [" ".join(rng.sample(TEXT.split(), 12)) for _ in range(200)]
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def structured_rows(generator: torch.Generator) -> torch.Tensor:
    """Raw rows (K, V, d): token noise that stays, and sparse directions that are born and turn."""
    families = 40
    early, late = (
        torch.nn.functional.normalize(torch.randn(families, D_MODEL, generator=generator), dim=1)
        for _ in range(2)
    )
    member = (torch.rand(V, families, generator=generator) < 0.05).float()
    strength = member * torch.rand(V, families, generator=generator).add(0.5)
    birth = torch.randint(0, len(STEPS), (families,), generator=generator)
    noise = 0.05 * torch.randn(V, D_MODEL, generator=generator)
    rows = []
    for k in range(len(STEPS)):
        turned = torch.lerp(early, late, 0.1 * k)
        grown = torch.sigmoid((k - birth).float() * 3) * (1 + 0.3 * k)
        rows.append((strength * grown) @ turned + noise + 0.02 * k)
    return torch.stack(rows)


def center_scale(raw: torch.Tensor) -> torch.Tensor:
    """Standardised rows (K, V, d), each snapshot by itself (crosscoder-method section 2)."""
    centred = raw - raw.mean(dim=1, keepdim=True)
    scale = centred.square().sum(dim=2).mean(dim=1).div(raw.shape[2]).clamp(min=1e-8).sqrt()
    return centred / scale[:, None, None]


def make_model() -> Crosscoder:
    """The production settings of section 3.4 at a small shape."""
    config = CrosscoderConfig(
        d_model=D_MODEL, expansion_factor=D_SAE / D_MODEL,
        hook_points=[f"wu_step_{i}" for i in range(len(STEPS))],
        act_fn="jumprelu", jumprelu_threshold_window=4.0, sparsity_include_decoder_norm=True,
        use_decoder_bias=True, norm_activation="inference", device="cpu", dtype=torch.float32,
    )
    model = Crosscoder(config)
    model.init_parameters(
        encoder_uniform_bound=D_MODEL**-0.5, decoder_uniform_bound=D_SAE**-0.5,
        init_log_jumprelu_threshold_value=float(torch.tensor(0.1).log()),
    )
    model.init_encoder_with_decoder_transpose(1.0)
    return model


TRAINING = {
    "lr": 2e-3, "l1_coefficient": 0.3, "frequency_scale": 0.01, "tanh_stretch_coefficient": 1.0,
    "jumprelu_lr_factor": 0.1, "init_threshold": 0.1, "decoder_transpose_init": 1.0,
    "amp_dtype": "fp32", "optimizer": "adam", "n_epochs": EPOCHS, "batch_size": BATCH,
    "expansion_factor": D_SAE / D_MODEL, "d_sae": D_SAE, "input_preprocess": "center_scale",
    "l1_warmup_fraction": 0.1, "lr_warmup_fraction": 0.0, "lr_decay_fraction": 0.0,
    "auxk_coefficient": 0.0, "auxk_k": 512, "dead_window_steps": 100,
}


def tanh_quad(model: Crosscoder, told: dict) -> torch.Tensor:
    """The sparsity term; this version's own cannot take the mean of its scalar for a crosscoder."""
    stretch, scale = TRAINING["tanh_stretch_coefficient"], TRAINING["frequency_scale"]
    score = torch.tanh(stretch * told["feature_acts"] * model.decoder_norm())
    frequency = score.mean(dim=(0, 1))
    return (frequency * (1 + frequency / scale)).sum()


def train(model: Crosscoder, x: torch.Tensor) -> None:
    """The loop of section 3.4 around the library's own loss."""
    names = model.cfg.hook_points
    slow = [p for n, p in model.named_parameters() if "threshold" in n]
    fast = [p for n, p in model.named_parameters() if "threshold" not in n]
    rate = TRAINING["lr"]
    optimizer = torch.optim.Adam([
        {"params": fast, "lr": rate},
        {"params": slow, "lr": rate * TRAINING["jumprelu_lr_factor"]},
    ])
    generator = torch.Generator().manual_seed(SEED)
    steps = EPOCHS * -(-V // BATCH)
    done = 0
    for _ in range(EPOCHS):
        for rows in torch.randperm(V, generator=generator).split(BATCH):
            weight = min(1.0, done / (TRAINING["l1_warmup_fraction"] * steps))
            batch = {name: x[k, rows] for k, name in enumerate(names)} | {"tokens": rows}
            told = model.compute_loss(batch, sparsity_loss_type=None)
            loss = told["loss"] + TRAINING["l1_coefficient"] * weight * tanh_quad(model, told)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1


@torch.no_grad()
def figures(model: Crosscoder, x: torch.Tensor) -> dict:
    """Both protocols of section 6, from the library's own encode and decode."""
    fires = torch.zeros(len(STEPS), D_SAE, dtype=torch.float64)
    residual = total = 0.0
    parts = []
    for rows in x.transpose(0, 1).split(BATCH):
        acts = model.encode(rows)
        error = (model.decode(acts) - rows).double()
        fires += (acts > 0).sum(dim=0)
        residual += float(error.square().sum())
        total += float(rows.double().square().sum())
        parts.append((float(error.square().mean()), float(rows.double().var()),
                      float((acts > 0).double().sum(dim=-1).mean())))
    mse, variance, l0 = torch.tensor(parts, dtype=torch.float64).T
    pairs = V * len(STEPS)
    dead = float((fires.sum(dim=0) / pairs <= 1e-6).double().mean())
    return {
        "canonical": {
            "explained_variance": 1 - residual / total, "l0": float(fires.sum() / pairs),
            "dead_rate": dead, "reconstruction_mse": residual / (pairs * D_MODEL),
        },
        "training": {
            "explained_variance": float(1 - mse.sum() / variance.sum()), "l0": float(l0.mean()),
            "dead_rate": dead, "reconstruction_mse": float(mse.mean()),
        },
        "rates": (fires / V).tolist(),
    }


def main(out: Path) -> None:
    """Write the release layout under `out`."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    raw = structured_rows(torch.Generator().manual_seed(SEED))
    x = center_scale(raw)
    model = make_model()
    train(model, x)
    told = figures(model, x)
    print(json.dumps({k: told[k] for k in ("canonical", "training")}, indent=1))

    stem = out / LABEL / "W_U" / f"cross-snapshot-{len(STEPS)}" / f"d{D_SAE}" / f"seed{SEED}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    state = {name: t.detach().contiguous() for name, t in model.state_dict().items()}
    save_file(state, f"{stem}.safetensors")
    canonical = told["canonical"]
    quality = {
        "explained_variance": canonical["explained_variance"], "mean_l0": canonical["l0"],
        "reconstruction_mse": canonical["reconstruction_mse"], "dead_rate": canonical["dead_rate"],
        "d_sae": D_SAE, "n_snapshots": len(STEPS), "n_rows": V,
    }
    dump = json.loads(json.dumps(model.cfg.model_dump(), default=str))
    sidecar = {
        "model_name": NAME, "steps": STEPS, "kind": f"cross-snapshot-{len(STEPS)}", "seed": SEED,
        "config": dump, "training": TRAINING, "quality": quality,
    }
    Path(f"{stem}.config.json").write_text(json.dumps(sidecar, indent=1) + "\n")
    Path(f"{stem}.md").write_text(
        f"# {LABEL} W_U, {D_SAE} features\n\nEV {canonical['explained_variance']:.3f} / "
        f"L0 {canonical['l0']:.1f}\n"
    )
    snapshots = out / "snapshots"
    snapshots.mkdir(exist_ok=True)
    slug = NAME.replace("/", "_")
    for k, step in enumerate(STEPS):
        save_file({"W_U": raw[k].contiguous()}, snapshots / f"{slug}_step{step}_wu.safetensors")
    model_folder = out / "models" / LABEL
    model_folder.mkdir(parents=True, exist_ok=True)
    make_tokenizer().save(str(model_folder / "tokenizer.json"), pretty=False)
    versions = {p: version(p) for p in ("llamascopium", "transformer-lens", "torch", "tokenizers")}
    told |= {"versions": versions, "python": sys.version.split()[0]}
    (out / "figures.json").write_text(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
