"""The benchmark of live decompositions at a tiny shape: every line is there, the body is kept."""

from pathlib import Path

from atlas.language_model import full_steps
from atlas.places import model_path
from atlas.tensor_files import write_json
from tests.benchmarks import bench_decompose as bench
from tests.benchmarks.full_shape import MODEL, NAME, SMALL
from tests.tiny import SEED0


def test_every_line_is_measured(tiny_store: Path) -> None:
    lines = bench.measure(tiny_store, SEED0, 2, "cpu")
    assert len({line.what for line in lines}) == len(lines) == 11
    assert all(0 < line.low <= line.seconds <= line.high for line in lines)
    table = bench.written(lines, SMALL, "cpu")
    assert all(f"| {line.what} | {line.seconds:.3f} |" in table for line in lines)
    assert "| 0.15 |" in table


def test_a_crowd_is_answered(tiny_store: Path) -> None:
    one, many = bench.crowd(tiny_store, SEED0)
    assert 0 < one.low <= one.seconds
    assert many.low <= many.seconds <= many.high


def test_the_made_up_body_is_a_model_and_is_made_once(tmp_path: Path) -> None:
    folder = model_path(tmp_path, MODEL)
    write_json(folder / "config.json", {
        "model_type": "gpt_neox", "hidden_size": SMALL.width, "vocab_size": 320,
        "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8,
    })
    bench.made_up_body(tmp_path, SMALL)
    step = SMALL.steps[-1]
    assert full_steps(folder) == [step]
    (body,) = folder.glob("step*.safetensors")
    before = body.stat().st_mtime_ns
    bench.made_up_body(tmp_path, SMALL)
    assert body.stat().st_mtime_ns == before
    assert list((tmp_path / "snapshots").glob(f"{NAME.replace('/', '_')}_step{step}_we.*"))
