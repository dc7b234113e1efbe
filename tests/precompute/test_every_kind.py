"""One dictionary of every released kind, one model of every family: from the hub to an answer.

All through the real huggingface_hub and transformers, from the loopback double, in one process
that is cut off from it before anything is asked. `tests.precompute.test_acquire` looks at the
requests; here it is the breadth that counts.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from atlas.artifacts import GATE, THRESHOLD
from atlas.inventory import HUB
from atlas.prism import ARCHITECTURES, normalise_rows
from atlas.store import Store
from atlas.tensor_files import save_tensors
from tests import families
from tests.hub_child import Child
from tests.hub_double import TOKEN, HubDouble
from tests.hub_release import MODEL, STEPS, WIDTH, Release
from tests.tiny import D, V

PROMPT = "In the beginning the light was upon the"
ARCH = "pythia-14m/W_U/architecture-comparison/d24"
OLMO = "allenai/OLMo-2-tiny"
OLMO_STEPS = (150, 1000)


@dataclass(frozen=True)
class Kind:
    """A crosscoder or SAE as it is released."""

    run: str
    steps: tuple[int, ...] = STEPS
    model: str = MODEL
    act_fn: str = "jumprelu"
    d_model: int = D
    training: dict[str, Any] = field(default_factory=dict)


KINDS = (
    Kind("pythia-14m/W_U/cross-snapshot-4/d24/seed0"),
    Kind("pythia-14m/W_U/cross-snapshot-4/d24/seed0-sparse"),
    Kind("pythia-14m/W_E/cross-snapshot-4/d24/seed0"),
    Kind("pythia-14m/W_U/cross-snapshot-2/d24/seed0", STEPS[1:3]),
    Kind("pythia-14m/W_U/cross-snapshot-2-matched-window/d24/seed0", STEPS[2:]),
    Kind("pythia-14m/W_U/lambda-sweep/d24/lam0p40_seed1", training={"l1_coefficient": 0.4}),
    Kind(f"{ARCH}/batchtopk/seed0", act_fn="batchtopk"),
    Kind(f"{ARCH}/gated/seed0", act_fn="gated"),
    Kind(f"{ARCH}/gated-retuned/seed0", act_fn="gated"),
    Kind("pythia-14m/W_U/per-snapshot-saes/d24/step1000", STEPS[2:3]),
    Kind("pythia-14m/W_U/final-snapshot-saes/d24", STEPS[-1:]),
    Kind("olmo-2-tiny/W_U/cross-snapshot-2/d24/seed0", OLMO_STEPS, OLMO,
         d_model=families.WIDTH),
)
PICKLED = "pythia-14m/W_U/cross-snapshot-4/d24/seed3"
PRISMS = {
    f"tiny-{family.replace('_', '-')}/k3_3x": (family, architecture, schema)
    for family, architecture, schema in (
        ("qwen3_5", "topk", "archive"),
        ("qwen3_5-large", "matryoshka_topk", "archive"),
        ("gemma4", "topk", "archive"),
        ("mistral3", "topk", "trainer"),
        ("qwen2", "batch_topk", "trainer"),
        ("llama", "jumprelu", "trainer"),
        ("olmo2", "gated", "archive"),
        ("gpt_neox", "l1_relu", "archive"),
    )
}
RUNS = (*(kind.run for kind in KINDS), PICKLED, *PRISMS)


def weights_of(kind: Kind) -> dict[str, Tensor]:
    """Tensors under the release's names."""
    K, d = len(kind.steps), kind.d_model
    random = torch.Generator().manual_seed(len(kind.run))
    W_D = torch.randn(K, WIDTH, d, generator=random) / d**0.5
    tensors = {"W_E": W_D.transpose(1, 2).clone() / K, "b_E": torch.zeros(K, WIDTH), "W_D": W_D,
               "b_D": torch.zeros(K, d)}
    if kind.act_fn == "jumprelu":
        tensors[THRESHOLD] = torch.full((WIDTH,), 0.3).log()
    if kind.act_fn == "gated":
        tensors |= {name: torch.full((WIDTH,), value)
                    for name, value in zip(GATE, (-0.2, 0.1, 0.0), strict=True)}
    return tensors


def told_of(kind: Kind) -> dict[str, Any]:
    """Its sidecar."""
    config: dict[str, Any] = {"d_sae": WIDTH}
    config |= {"act_fn": "jumprelu"} if kind.act_fn == "jumprelu" else {"arch": kind.act_fn}
    config |= {"batchtopk_k": 3} if kind.act_fn == "batchtopk" else {}
    return {
        "model_name": kind.model, "steps": list(kind.steps), "config": config,
        "training": {"input_preprocess": "center_scale", "batch_size": 1024} | kind.training,
        "quality": {},
    }


def release_crosscoders(hub: HubDouble, work: Path) -> None:
    """Every kind as safetensors with a sidecar, and one as an old pickle that holds everything."""
    for kind in KINDS:
        path = work / f"{kind.run.replace('/', '_')}.safetensors"
        save_tensors(path, weights_of(kind))
        hub.add(HUB["trajectory"], {
            f"{kind.run}.safetensors": path,
            f"{kind.run}.config.json": json.dumps(told_of(kind)).encode(),
        })
    pickled = work / "pickled.pt"
    first = KINDS[0]
    torch.save({"state_dict": weights_of(first)} | told_of(first), pickled)
    hub.add(HUB["trajectory"], {f"{PICKLED}.pt": pickled})


def release_model(hub: HubDouble, work: Path, family: str, name: str, revision: str,
                  seed: int = 0) -> Tensor:
    """A tiny model of a family in its repository; returns its unembedding."""
    module = families.tiny_family(family, seed)
    folder = families.save_hub(work / f"{family}-{seed}", module, shards=seed % 2 == 1)
    spaced = family.startswith("gemma")
    tokenizer = families.spaced_tokenizer() if spaced else families.make_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    files: dict[str, bytes | Path] = {p.name: p for p in sorted(folder.iterdir())}
    hub.add(name, files | {"tokenizer_config.json": b"{}"}, revision)
    return module.get_output_embeddings().weight.detach().float()


def release_prism(hub: HubDouble, work: Path, run: str, name: str, W: Tensor) -> None:
    """A prism over a model's unembedding, in the schema of its release."""
    _, architecture, schema = PRISMS[run]
    random = torch.Generator().manual_seed(3)
    size = 3 * W.shape[1]
    x, mean, norms = normalise_rows(W)
    decoder = x[torch.randperm(len(x), generator=random)[:size]].clone()
    state = {"encoder.weight": decoder.clone(), "decoder": decoder,
             "encoder.bias": torch.zeros(size)}
    state |= {name: torch.tensor(0.3) if name == "activation_threshold"
              else torch.full((size,), -1.0 if name == "log_threshold" else -0.1)
              for name in ARCHITECTURES[architecture]}
    factorizer = {"architecture": architecture, "d_features": size, "k": 3}
    told: dict[str, Any] = {"model_state_dict": state, "config": {"model_id": name, "seed": 0}}
    if schema == "archive":
        told["config"]["factorizer"] = factorizer
    else:
        told |= {"factorizer": factorizer, "row_mean": mean, "row_norms": norms,
                 "row_token_ids": torch.arange(len(W)), "evaluation": {"k": 3}}
    path = work / f"{run.replace('/', '_')}.pt"
    torch.save(told, path)
    hub.add(HUB["prism"], {f"{run}/checkpoint.pt": path})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Child]]:
    """A store with all of them, built from the double, which is gone by now."""
    work = tmp_path_factory.mktemp("work")
    store = work / "store"
    with HubDouble(work / "served") as hub:
        pythia = Release(work / "pythia")
        for step in STEPS:
            pythia.checkpoint(hub.add, step)
        pythia.checkpoint(hub.add, STEPS[-1], revision="main")
        release_crosscoders(hub, work)
        for seed, step in enumerate(OLMO_STEPS):
            release_model(hub, work, "olmo2", OLMO, f"stage1-step{step}-tokens{1 + seed}B", seed)
        for run, (family, _, _) in PRISMS.items():
            name = f"owner/{run.split('/')[0]}"
            release_prism(hub, work, run, name, release_model(hub, work, family, name, "main"))
        child = Child(hub.environment(work / "home", HF_TOKEN=TOKEN))
        for run in RUNS:
            status, out, err = child("build", run, "--store", store)
            assert (status, err) == (0, ""), f"{run}: {out}{err}"
    yield store, child
    child.close()


def test_every_one_is_in_the_store(built: tuple[Path, Child]) -> None:
    cards = {card.run: card for card in Store.open(built[0]).runs()}
    assert set(cards) == set(RUNS)
    assert [card.run for card in cards.values() if card.problem] == []
    assert {card.kind for card in cards.values()} == {"crosscoder", "sae", "prism"}
    assert all(card.n_alive > 0 for card in cards.values())


@pytest.mark.parametrize("run", [run for run in RUNS if "/W_E/" not in run])
def test_a_prompt_is_taken_apart_without_the_hub(built: tuple[Path, Child], run: str) -> None:
    store, child = built
    status, out, err = child("decompose", "--run", run, "--prompt", PROMPT, "--step", "all",
                             "--json", "--store", store)
    assert (status, err) == (0, "")
    rows = json.loads(out)["rows"]
    steps = {kind.run: kind.steps for kind in KINDS}.get(run)
    assert steps is None or [row["step"] for row in rows] == list(steps)
    for row in rows:
        assert row["exact"] == pytest.approx(
            row["base"] + row["feature_sum"] + row["residual"], abs=1e-5
        )
    assert any(row["contributions"] for row in rows)


@pytest.mark.parametrize("run", RUNS)
def test_its_figures_are_measured_again_from_the_weights(
    built: tuple[Path, Child], run: str
) -> None:
    store, child = built
    status, out, err = child("verify", run, "--json", "--store", store)
    assert (status, err) == (0, "")
    found = json.loads(out)
    card = Store.open(store).run(run)
    assert found["canonical"]["explained_variance"] == pytest.approx(
        card.explained_variance, abs=1e-4
    )
    assert found["canonical"]["l0"] == pytest.approx(card.l0, rel=1e-4)
    assert V * found["canonical"]["l0"] >= 1
