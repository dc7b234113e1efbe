"""A tiny release as the hub has it: dictionaries beside the checkpoints of the models they read.

EleutherAI/pythia-14m stands for the Pythia models: it is in no inventory, so its shapes are free.
(`tests.released` has dictionaries of every kind; here they are few, but whole repositories.)
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from atlas.artifacts import MATRICES, THRESHOLD
from atlas.inventory import HUB
from atlas.tensor_files import save_tensors
from tests.tiny import D, V, make_tokenizer
from trainer.language_model import LanguageModelRecipe, build_model

MODEL = "EleutherAI/pythia-14m"
STEPS = (0, 1, 1000, 143000)
WIDTH = 24
CROSS = "pythia-14m/W_U/cross-snapshot-4/d24/seed0"
CROSS_E = "pythia-14m/W_E/cross-snapshot-4/d24/seed0"
SINGLE = "pythia-14m/W_U/per-snapshot-saes/d24/step1000"
PRISM = "tiny-7b/k3_3x"
FINISHED = "owner/tiny-7b"
TENSORS = {"W_U": ("embed_out.weight", "lm_head.weight"), "W_E": ("gpt_neox.embed_in.weight",)}
HEADS = {name for names in TENSORS.values() for name in names}


class Add(Protocol):
    """Takes files into a branch of a repository, as `HubDouble.add` does."""

    def __call__(
        self, repository: str, files: Mapping[str, bytes | Path], revision: str = "main",
        repo_type: str = "model",
    ) -> object: ...


def into_folder(root: Path) -> Callable[..., None]:
    """An `Add` that lays a mirror out: main in the repository itself, other branches below it."""

    def add(repository: str, files: Mapping[str, bytes | Path], revision: str = "main",
            repo_type: str = "model") -> None:
        for name, content in files.items():
            path = root / repository / ("" if revision == "main" else revision) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, path)
            else:
                path.write_bytes(content)

    return add


class Release:
    """What is released, and the tensors it was made from."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.rows: dict[tuple[str, str, int], Tensor] = {}
        """(model, matrix, step) -> the matrix in its checkpoint, (V, d)."""
        work.mkdir(parents=True, exist_ok=True)
        make_tokenizer().save(str(work / "tokenizer.json"))

    def all(self, add: Add) -> None:
        """Everything, as the hub has it."""
        for step in STEPS:
            self.checkpoint(add, step)
        self.checkpoint(add, STEPS[-1], revision="main")
        self.checkpoint(add, 0, FINISHED, "main")
        for run in (CROSS, CROSS_E, SINGLE):
            self.crosscoder(add, run)
        self.prism(add)
        add(HUB["trajectory"], {"index.json": json.dumps(
            [{"path": f"{run}.safetensors", "d_sae": WIDTH} for run in (CROSS, CROSS_E, SINGLE)]
        ).encode()})

    def checkpoint(
        self, add: Add, step: int, name: str = MODEL, revision: str | None = None,
        shards: int = 1,
    ) -> None:
        """A GPT-NeoX at one step in the hub's layout, in one file or two."""
        folder = self.work / f"{name.replace('/', '_')}-{step}"
        if not folder.is_dir():
            self._make(folder, name, step)
        files: dict[str, bytes | Path] = {p.name: p for p in sorted(folder.iterdir())}
        if shards == 2:
            del files["model.safetensors"]
            files |= self._in_two(load_file(folder / "model.safetensors"))
        files |= {"tokenizer.json": self.work / "tokenizer.json", "tokenizer_config.json": b"{}"}
        add(name, files, revision or f"step{step}")

    def _make(self, folder: Path, name: str, step: int) -> None:
        recipe = LanguageModelRecipe(hidden_size=D, layers=1, heads=2, steps=1, snapshots=(0,),
                                     full_models=(0,), vocabulary=V, seed=step % 97)
        model = build_model(recipe)
        generator = torch.Generator().manual_seed(step % 89)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(generator=generator)
        model.save_pretrained(folder)
        tensors = load_file(folder / "model.safetensors")
        for matrix, names in TENSORS.items():
            found = next(n for n in names if n in tensors)
            self.rows[name, matrix, step] = tensors[found]

    def _in_two(self, tensors: dict[str, Tensor]) -> dict[str, bytes | Path]:
        """The body in one file, both matrices in the other, and the index."""
        files: dict[str, bytes | Path] = {}
        where = {}
        for number, heads in enumerate((False, True), 1):
            name = f"model-0000{number}-of-00002.safetensors"
            part = {n: t for n, t in tensors.items() if (n in HEADS) is heads}
            save_file(part, self.work / name)
            files[name] = self.work / name
            where |= dict.fromkeys(part, name)
        index = {"metadata": {}, "weight_map": where}
        return files | {"model.safetensors.index.json": json.dumps(index).encode()}

    def crosscoder(self, add: Add, run: str, **sidecar: object) -> None:
        """A JumpReLU dictionary with its sidecar and card."""
        steps = [int(run.rsplit("step", 1)[1])] if "saes" in run else list(STEPS)
        K = len(steps)
        generator = torch.Generator().manual_seed(len(run))
        W_D = torch.randn(K, WIDTH, D, generator=generator) / D**0.5
        weights = self.work / f"{run.replace('/', '_')}.safetensors"
        save_tensors(weights, {
            "W_E": W_D.transpose(1, 2).clone() / K, "b_E": torch.zeros(K, WIDTH), "W_D": W_D,
            "b_D": torch.zeros(K, D), THRESHOLD: torch.full((WIDTH,), 0.3).log(),
        })
        said = {
            "model_name": MODEL, "steps": steps, "seed": 0,
            "config": {"act_fn": "jumprelu", "d_sae": WIDTH},
            "training": {"input_preprocess": "center_scale", "batch_size": 1024},
            "quality": {"explained_variance": 0.5, "mean_l0": 4.0},
        } | sidecar
        add(HUB["trajectory"], {
            f"{run}.safetensors": weights, f"{run}.config.json": json.dumps(said).encode(),
            f"{run}.md": b"# card\n",
        })

    def prism(self, add: Add) -> None:
        """A TopK prism as a pickle without a mean, over a finished model."""
        generator = torch.Generator().manual_seed(3)
        decoder = torch.randn(WIDTH, D, generator=generator)
        decoder /= decoder.norm(dim=1, keepdim=True)
        path = self.work / "checkpoint.pt"
        torch.save({
            "model_state_dict": {"encoder.weight": decoder.clone(), "decoder": decoder,
                                 "encoder.bias": torch.zeros(WIDTH)},
            "config": {"model_id": FINISHED, "seed": 0,
                       "factorizer": {"architecture": "topk", "d_features": WIDTH, "k": 3}},
        }, path)
        add(HUB["prism"], {f"{PRISM}/checkpoint.pt": path})

    def loose(self, folder: Path, matrix: str, step: int, suffix: str = "safetensors",
              name: str = MODEL) -> Path:
        """A snapshot as a file of its own."""
        stem = f"{name.replace('/', '_')}_step{step}_{MATRICES[matrix]}"
        path = folder / f"{stem}.{suffix}"
        folder.mkdir(parents=True, exist_ok=True)
        rows = self.rows[name, matrix, step]
        if suffix == "pt":
            torch.save(rows, path)
        else:
            save_tensors(path, {matrix: rows})
        return path
