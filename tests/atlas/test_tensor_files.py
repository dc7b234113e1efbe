"""The door to tensor files: what is damaged or hostile is refused, and slices equal the whole."""

import json
import os
import pickle
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlas import tensor_header
from atlas.errors import AtlasError, BrokenArtifact, InvalidValue, NotFound
from atlas.tensor_files import (
    SCALE,
    TensorFile,
    load_tensors,
    read_header,
    round_rows,
    save_rounded,
    save_tensors,
)


def raw_file(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file from any header, a claimed length and data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape: list, start: int, stop: int, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def bomb() -> bytes:
    """A hundred thousand empty tensors: of a million the library makes 16 s and a gigabyte."""
    entry = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    return raw_file(("{" + ",".join(f'"t{i}":{entry}' for i in range(100_000)) + "}").encode())


FOUR = b"\0" * 16
DAMAGED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "no safetensors file"),
    "7 bytes": (lambda: b"\0" * 7, "no safetensors file"),
    "a header of 2^63": (lambda: raw_file(b"{}", length=2**63), "claims 9,223,372,036,854,775,808"),
    "a header of 101 MB": (lambda: raw_file(b"{}", length=101_000_000), "claims 101,000,000"),
    "a header past the end": (lambda: raw_file(b"{}", length=40), "claims 40"),
    "not JSON": (lambda: raw_file(b"{nope}"), "damaged header"),
    "bad UTF-8": (lambda: raw_file(b'{"\xff\xfe": 1}'), "damaged header"),
    "a list": (lambda: raw_file(b"[1]"), "no table"),
    "truncated data": (lambda: raw_file({"a": tensor([4], 0, 16)}, FOUR[:-1]), "cut short"),
    "an extra tail": (lambda: raw_file({"a": tensor([4], 0, 16)}, FOUR + b"x"), "holds 17"),
    "shape against bytes": (lambda: raw_file({"a": tensor([5], 0, 16)}, FOUR), "takes 20 bytes"),
    "an overlap": (
        lambda: raw_file({"a": tensor([4], 0, 16), "b": tensor([2], 8, 16)}, FOUR), "overlaps",
    ),
    "a hole": (
        lambda: raw_file({"a": tensor([1], 0, 4), "b": tensor([1], 12, 16)}, FOUR), "a hole",
    ),
    "an offset beyond": (lambda: raw_file({"a": tensor([4], 64, 80)}, FOUR), "end at byte 80"),
    "a shape that overflows": (
        lambda: raw_file({"a": tensor([2**40, 2**40], 0, 16)}, FOUR), "takes 4,835",
    ),
    "an axis of 2^70": (lambda: raw_file({"a": tensor([2**70], 0, 16)}, FOUR), "whole numbers"),
    "a negative shape": (lambda: raw_file({"a": tensor([-4], 0, 16)}, FOUR), "whole numbers"),
    "a shape of text": (lambda: raw_file({"a": tensor("44", 0, 16)}, FOUR), "whole numbers"),
    "offsets of text": (
        lambda: raw_file({"a": tensor([4], "a", "b")}, FOUR), "whole numbers",  # type: ignore
    ),
    "a hundred axes": (lambda: raw_file({"a": tensor([1] * 100, 0, 4)}, FOUR), "at most 8"),
    "an unknown dtype": (
        lambda: raw_file({"a": tensor([4], 0, 16, "F8_E9M9")}, FOUR), "F8_E9M9",
    ),
    "no description": (lambda: raw_file({"a": 7}, FOUR), "not described"),
    "HTML": (lambda: b"<!DOCTYPE html><html><body>Sign in</body></html>" * 9, "no safetensors"),
    "an LFS pointer": (
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64,
        "no safetensors file",
    ),
    "a pickle": (lambda: pickle.dumps({"a": [1.0] * 99}), "no safetensors file"),
    "deep JSON": (lambda: raw_file(b'{"a":' + b"[" * 99_999 + b"]" * 99_999 + b"}"), "header"),
    # the library takes these; this project does not
    "a name twice": (
        lambda: raw_file(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},'
                         b'"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', FOUR),
        "given twice",
    ),
    "a path for a name": (
        lambda: raw_file({"../../etc/x": tensor([4], 0, 16)}, FOUR), "called '../../etc/x'",
    ),
    "6 MB of metadata": (
        lambda: raw_file(b'{"__metadata__":{"a":"' + b"x" * 6_000_000 + b'"}}'), "claims 6,000,",
    ),
    "a header bomb": (bomb, "header claims"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_refused(name: str, tmp_path: Path) -> None:
    """Within a second and little memory, in one line that names the file."""
    path = tmp_path / "file.safetensors"
    make, said = DAMAGED[name]
    path.write_bytes(make())
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(BrokenArtifact) as caught:
        TensorFile(path)
    assert time.process_time() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB
    message = str(caught.value)
    assert said in message
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 500


def test_many_tensors_in_a_small_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_header, "MAX_TENSORS", 3)
    save_tensors(tmp_path / "f", {f"t{i}": torch.ones(1) for i in range(3)})
    assert len(TensorFile(tmp_path / "f").names) == 3
    save_tensors(tmp_path / "f", {f"t{i}": torch.ones(1) for i in range(4)})
    with pytest.raises(BrokenArtifact, match="holds 4 tensors, at most 3"):
        TensorFile(tmp_path / "f")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        TensorFile(tmp_path / "nowhere")
    with pytest.raises(BrokenArtifact, match="cannot be read"):
        read_header(tmp_path)
    save_tensors(tmp_path / "f", {"a": torch.ones(2)})
    with pytest.raises(BrokenArtifact, match="no tensor b; it holds a"):
        TensorFile(tmp_path / "f").gather("b", np.array([0]))
    with pytest.raises(BrokenArtifact, match=r"a is \(2,\), but config says \(3,\)"):
        TensorFile(tmp_path / "f").expect({"a": (3,)}, "config")


def test_empty_tensors_are_read(tmp_path: Path) -> None:
    """Accepted by the library, and harmless."""
    save_tensors(tmp_path / "f", {"none": torch.zeros(0, 4), "thin": torch.zeros(3, 0)})
    file = TensorFile(tmp_path / "f")
    assert file.read("none").shape == (0, 4)
    assert file.gather("none", np.array([], dtype=np.int64)).shape == (0, 4)
    assert file.gather("thin", np.array([2, 0])).shape == (2, 0)
    assert list(file.blocks("none")) == []
    with pytest.raises(InvalidValue, match="no row 0, there are 0"):
        file.gather("none", np.array([0]))


class TestValues:
    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
    def test_what_is_not_finite_is_named(
        self, tmp_path: Path, bad: float, dtype: torch.dtype
    ) -> None:
        values = torch.ones(3, 5, 4, dtype=dtype)
        values[1, 2, 3] = values[2, 0, 0] = bad
        save_tensors(tmp_path / "f", {"a": values})
        file = TensorFile(tmp_path / "f")
        named = r"tensor a holds 2 values that are not finite, the first at \(1, 2, 3\)"
        for read in (lambda: file.read("a"), lambda: load_tensors(tmp_path / "f")):
            with pytest.raises(BrokenArtifact, match=named):
                read()
        with pytest.raises(BrokenArtifact, match=r"holds 1 values.*the first at \(1, 3\)"):
            file.gather("a", np.array([0, 7]))
        with pytest.raises(BrokenArtifact, match="not finite"):
            list(file.blocks("a", 4))
        with pytest.raises(BrokenArtifact, match="not finite"):
            file.product("a", torch.zeros(4))
        assert bool((file.gather("a", np.array([0, 6, 14])) == 1).all())
        assert bool((file.read("a", 0) == 1).all())

    def test_a_sum_that_overflows_is_no_fault(self, tmp_path: Path) -> None:
        values = torch.full((9,), 3e38)
        doubles = torch.full((9,), 1e308, dtype=torch.float64)
        save_tensors(tmp_path / "f", {"a": values, "b": doubles})
        file = TensorFile(tmp_path / "f")
        assert torch.equal(file.read("a"), values)
        with pytest.raises(BrokenArtifact, match="not finite"):  # no float32 holds it
            file.read("b")

    def test_a_file_that_is_cut_while_it_is_open(self, tmp_path: Path) -> None:
        save_tensors(tmp_path / "f", {"a": torch.ones(4000, 8)})
        file = TensorFile(tmp_path / "f")
        with open(tmp_path / "f", "rb+") as handle:
            handle.truncate(1000)
        with pytest.raises(BrokenArtifact, match="cut short"):
            file.gather("a", np.array([3999]))
        with pytest.raises(BrokenArtifact, match="cut short"):
            file.product("a", torch.ones(8))
        (tmp_path / "f").unlink()
        with pytest.raises(NotFound):
            file.gather("a", np.array([0]))


def stack(dtype: str) -> dict[str, torch.Tensor]:
    values = torch.randn(3, 50, 7, generator=torch.Generator().manual_seed(3))
    if dtype == "rounded":
        whole, scale = round_rows(values)
        return {"a": whole, "a" + SCALE: scale}
    kinds = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16,
             "f64": torch.float64}
    return {"a": values.to(kinds[dtype])}


class TestSlices:
    @pytest.mark.parametrize("dtype", ["f32", "bf16", "f16", "f64", "rounded"])
    def test_gather_blocks_and_product_equal_the_whole(self, dtype: str, tmp_path: Path) -> None:
        save_tensors(tmp_path / "f", {"z": torch.ones(5), **stack(dtype), "b": torch.ones(2, 3)})
        file = TensorFile(tmp_path / "f")
        whole = file.read("a")
        flat = whole.reshape(-1, 7)
        rows = np.array([149, 0, 0, 51, 100, 99])
        found = file.gather("a", rows)
        assert found.dtype == torch.float32
        assert torch.equal(found, flat[torch.from_numpy(rows)])
        for size in (1, 64, 150, 1000, None):
            blocks = [(first, block.clone()) for first, block in file.blocks("a", size)]
            assert torch.equal(torch.cat([block for _, block in blocks]), flat)
            assert [first for first, _ in blocks] == list(range(0, 150, size or 150))
        vector = torch.randn(7)
        torch.testing.assert_close(file.product("a", vector), flat @ vector)
        assert torch.equal(file.read("a", 1), whole[1])
        assert torch.equal(file.read("a", 2, slice(3, 9)), whole[2, 3:9])

    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(rows=st.lists(st.integers(0, 149), max_size=20))
    def test_any_rows(self, rows: list[int], tmp_path: Path) -> None:
        path = tmp_path / "f"
        if not path.exists():
            save_tensors(path, stack("f32"))
        file = TensorFile(path)
        wanted = file.read("a").reshape(-1, 7)[torch.tensor(rows, dtype=torch.long)]
        assert torch.equal(file.gather("a", np.array(rows, dtype=np.int64)), wanted)

    @pytest.mark.parametrize("row", [-1, 150, 2**40])
    def test_a_row_that_is_not_there(self, row: int, tmp_path: Path) -> None:
        save_tensors(tmp_path / "f", stack("f32"))
        with pytest.raises(InvalidValue, match=f"a has no row {row}, there are 150"):
            TensorFile(tmp_path / "f").gather("a", np.array([3, row]))

    def test_reads_that_come_in_pieces(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A call may read less than was asked for; the rest is asked for again."""
        save_tensors(tmp_path / "f", stack("f32"))
        file = TensorFile(tmp_path / "f")
        plain = os.preadv
        monkeypatch.setattr(os, "preadv", lambda f, into, at: plain(f, [into[0][:5]], at))
        whole = file.read("a").reshape(-1, 7)
        assert torch.equal(file.gather("a", np.array([3, 149])), whole[[3, 149]])
        blocks = torch.cat([block.clone() for _, block in file.blocks("a", 40)])
        assert torch.equal(blocks, whole)

    def test_nothing_is_mapped_in(self, tmp_path: Path) -> None:
        """Rows of a 200 MB file cost their own bytes, not the file's."""
        def resident() -> int:
            text = Path("/proc/self/status").read_text(encoding="utf8")
            return int(text.split("VmRSS:")[1].split()[0])  # kB

        header = raw_file({"a": tensor([100_000, 500], 0, 200_000_000)})
        with open(tmp_path / "f", "wb") as file:
            file.write(header)
            file.truncate(len(header) + 200_000_000)
        big = TensorFile(tmp_path / "f")
        before = resident()
        big.gather("a", np.arange(0, 100_000, 100))
        big.product("a", torch.ones(500))
        assert resident() - before < 60_000


class TestScales:
    def test_a_scale_is_joined_in_and_not_listed(self, tmp_path: Path) -> None:
        values = torch.randn(6, 4)
        save_rounded(tmp_path / "f", {"a": values, "b": values[0]})
        file = TensorFile(tmp_path / "f")
        assert file.names == ("a", "b")
        assert float((file.read("a") - values).abs().max()) < 0.02

    def test_a_name_that_only_looks_like_one(self, tmp_path: Path) -> None:
        save_tensors(tmp_path / "f", {"layer.scale": torch.ones(3)})
        assert TensorFile(tmp_path / "f").names == ("layer.scale",)

    @pytest.mark.parametrize("scale", [torch.ones(5), torch.ones(6, 1), torch.ones(6).int()])
    def test_a_scale_that_does_not_fit(self, scale: torch.Tensor, tmp_path: Path) -> None:
        save_tensors(tmp_path / "f", {"a": torch.ones(6, 4).char(), "a.scale": scale})
        with pytest.raises(AtlasError, match=r"a\.scale"):
            TensorFile(tmp_path / "f")


def test_several_products_at_once(tmp_path: Path) -> None:
    matrix = torch.randn(700, 9, generator=torch.Generator().manual_seed(0))
    vectors = torch.randn(4, 9, generator=torch.Generator().manual_seed(1))
    save_tensors(tmp_path / "m.safetensors", {"W": matrix})
    found = TensorFile(tmp_path / "m.safetensors").products("W", vectors)
    torch.testing.assert_close(found, vectors @ matrix.T)
    matrix[600, 3] = torch.nan
    save_tensors(tmp_path / "bad.safetensors", {"W": matrix})
    with pytest.raises(BrokenArtifact, match="600"):
        TensorFile(tmp_path / "bad.safetensors").products("W", vectors)
