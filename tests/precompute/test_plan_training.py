"""`plan` of a training: what it says of a demo recipe, of a released one, to programs and people.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from atlas.device import Device
from atlas.errors import NotFound
from atlas.places import snapshot_path
from precompute import cli, plan, plan_training
from precompute.commands.plan import as_json, as_text
from precompute.plan_training import plan_training as planned
from precompute.stages import STAGES
from trainer import recipes

HEADLINE = "pythia-160m/W_U/cross-snapshot-32/d24576/seed0"
SPARSE = "pythia-6.9b/W_U/cross-snapshot-32/d32768/seed0-sparse"
DEMO = "demo/large/W_U/cross-snapshot-24/d512/seed0"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line: status, stdout, stderr."""
    def run(*arguments: object) -> tuple[int, str, str]:
        status = cli.main([str(a) for a in arguments])
        said = capsys.readouterr()
        return status, said.out, said.err
    return run


def test_a_released_run_can_be_planned_as_a_training(call, tmp_path: Path) -> None:
    status, out, err = call("plan", HEADLINE + ".safetensors", "--train", "--json", "--store",
                            tmp_path)
    assert status == 0, err
    (found,) = json.loads(out)
    training = found["training"]
    assert training["parameters"] == 1_208_795_136
    assert (training["steps"], training["snapshots"], training["rows"]) == (15_000, 32, 50_304)
    assert training["step_flops"] == pytest.approx(6.19e12, rel=2e-3)
    assert training["weight_bytes"] == 4 * 1_208_795_136
    assert training["moment_bytes"] == 2 * training["weight_bytes"]
    assert training["row_bytes"] == 4 * 32 * 50_304 * 768
    assert [p["processes"] for p in training["processes"]] == [1, 2, 4, 8]
    assert training["chosen"]["sparsity_warmup"]["value"] == 0.1
    assert training["dials"]["learning_rate"] == 5e-5
    assert [s["name"] for s in found["stages"]] == ["train", *STAGES]
    assert found["fetch"] == [{"name": "32 snapshots of W_U of EleutherAI/pythia-160m",
                               "bytes": 4 * 32 * 50_304 * 768, "here": False, "where": ""}]
    assert found["disk_bytes"] > 7 * training["weight_bytes"], "two checkpoints and the weights"
    assert "readout-atlas train" in found["note"]
    assert not list(tmp_path.iterdir()), "a plan writes nothing"


def test_people_are_told_the_same(call, tmp_path: Path) -> None:
    status, out, _ = call("plan", SPARSE, "--train", "--store", tmp_path)
    assert status == 0
    for part in ("Pythia, 32 steps, center_scale", "8,591,147,008 weights in 15,000 steps",
                 "132.9 GB", "106.4 GB", "paper arithmetic", "data/recipes/pythia-6.9b"):
        assert part in out, part
    assert "chosen" not in out, "everything of this run is recorded"
    _, out, _ = call("plan", HEADLINE, "--train", "--store", tmp_path)
    assert "chosen   sparsity_warmup 0.1: The YAML" in out


def test_without_the_flag_a_released_run_is_planned_as_before(call, tmp_path: Path) -> None:
    status, out, _ = call("plan", HEADLINE, "--json", "--offline", "--store", tmp_path)
    assert status == 0
    (found,) = json.loads(out)
    assert "training" not in found
    assert [s["name"] for s in found["stages"]] == list(STAGES)


def test_every_released_recipe_has_a_plan(tmp_path: Path) -> None:
    for name in recipes.names():
        found = planned(recipes.resolve(name), tmp_path)
        assert found.minutes > 0, name
        assert found.memory_bytes > 0
        text = as_text(found)
        assert text.startswith(name)
        json.dumps(as_json(found))
        assert max(map(len, text.splitlines()[-9:-1])) < 160


def test_a_demo_recipe_counts_the_rows_it_is_fitted_to(call, tmp_path: Path) -> None:
    status, out, _ = call("plan", DEMO, "--json", "--store", tmp_path)
    assert status == 0
    (found,) = json.loads(out)
    training = found["training"]
    assert (training["snapshots"], training["rows"], training["d_model"]) == (24, 3865, 128)
    assert training["steps"] == 100 * 16
    assert training["parameters"] == 2 * 24 * 128 * 512 + 24 * (512 + 128) + 512
    assert training["total_flops"] == 10 * 100 * 3865 * 24 * 128 * 512
    assert "build trains it" in found["note"]


def test_a_changed_dial_is_planned_and_a_wrong_one_refused(call, tmp_path: Path) -> None:
    _, out, _ = call("plan", HEADLINE, "--set", "epochs=30", "--json", "--store", tmp_path)
    (found,) = json.loads(out)
    assert found["training"]["steps"] == 1500
    assert found["run"].startswith(HEADLINE + "-")
    for setting, said in (("lamda=1", "'lamda'"), ("epochs=0", "above 0"),
                          ("d_sae=x", "takes int")):
        status, _, err = call("plan", HEADLINE, "--set", setting, "--store", tmp_path)
        assert status == 2
        assert said in err
    status, _, err = call("plan", "pythia-160m/W_U/nothing", "--train", "--store", tmp_path)
    assert status == 2
    assert "no recipe is called" in err


def test_snapshots_that_are_here_are_not_fetched(tmp_path: Path) -> None:
    for step in (0, 512):
        path = snapshot_path(tmp_path, "EleutherAI/pythia-160m", step, "W_U")
        path.parent.mkdir(exist_ok=True)
        path.touch()
    here, missing = planned(recipes.resolve(HEADLINE), tmp_path).items
    assert (here.name.split()[0], here.here, here.where) == ("2", True, "store")
    assert (missing.name.split()[0], missing.here) == ("30", False)
    assert missing.bytes == 30 * 4 * 50_304 * 768
    (single,) = planned(recipes.resolve("pythia-160m/W_U/per-snapshot-saes/d8192/step512"),
                        tmp_path).items
    assert (single.here, single.name) == (True, "1 snapshot of W_U of EleutherAI/pythia-160m")


def test_minutes_follow_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipes.resolve(HEADLINE)
    monkeypatch.setattr(plan_training, "cores", lambda: 1)
    monkeypatch.setattr(plan, "cores", lambda: 1)
    alone = planned(recipe, tmp_path)
    hours = alone.stages[0].seconds / 3600
    assert 70 < hours < 280, "performance.md 2: 70 to 140 h on one core, by kernels of its own"
    monkeypatch.setattr(plan_training, "cores", lambda: 4)
    assert planned(recipe, tmp_path).stages[0].seconds == pytest.approx(hours * 900)
    card = planned(recipe, tmp_path, Device("cuda", "asked"))
    assert card.stages[0].seconds / 60 == pytest.approx(40, abs=2)
    assert "on one H200, on paper in float32: 39.6 min" in as_text(card)
    assert card.memory_bytes < alone.memory_bytes, "no whole gradient of the encoder"


def test_kinds_without_lists_do_all_products(tmp_path: Path) -> None:
    run = "pythia-160m/W_U/architecture-comparison/d8192/batchtopk/seed0"
    shared = plan_training.speed_here(recipes.resolve(run), "cpu")
    listed = plan_training.speed_here(recipes.resolve(HEADLINE), "cpu")
    assert (shared.share, listed.share) == (1.0, plan_training.LISTED_SHARE)
    (row,) = as_json(planned(recipes.resolve(run), tmp_path))["training"]["processes"]
    assert row["processes"] == 1


def test_a_prism_holds_its_rows(tmp_path: Path) -> None:
    found = planned(recipes.resolve("qwen3.5-9b/k256_32x"), tmp_path)
    (row,) = as_json(found)["training"]["processes"]
    assert row["memory_bytes_rows_streamed"] is None
    assert "rows assumed" in found.note
    assert found.items[0].bytes is None


def test_a_language_model_and_one_that_is_not_there(tmp_path: Path) -> None:
    found = planned(recipes.resolve("models/demo-small"), tmp_path)
    assert [s.name for s in found.stages] == ["pretrain"]
    assert as_json(found)["training"]["kind"] == "language-model"
    assert "pretrain" in as_text(found)
    recipe = recipes.resolve(DEMO, {"model": "nobody"})
    with pytest.raises(NotFound, match="train models/nobody"):
        planned(recipe, tmp_path)
