"""The door to the hub, over the real client against a hub on loopback: every fault has its line."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _detect_agent
from huggingface_hub.utils._xet_progress_reporting import XetDownloadProgressReporter

from atlas.errors import AtlasError, BrokenArtifact, HubError, InvalidValue, NoSpace
from atlas.places import ROOT
from precompute import hub as door
from precompute import safety
from precompute.fetching import COMMIT, Listed, NotCached, NotInMirror, NotThere, place
from precompute.hub import Hub
from precompute.hub_client import QUARANTINE, progress_bar
from precompute.mirror import Mirror
from tests.hub_double import TOKEN, HubDouble

REPOSITORY = "owner/dictionaries"
BIG, SMALL = "run/seed0.safetensors", "run/seed0.config.json"
BODY = bytes(range(256)) * 4096
FILES = {BIG: BODY, SMALL: b'{"steps": [0]}', "README.md": b"# card"}


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubDouble]:
    with HubDouble(tmp_path / "served") as served:
        served.add(REPOSITORY, FILES)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        monkeypatch.setattr(_detect_agent, "_registry", _detect_agent._EMPTY_REGISTRY)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        yield served


class Told(list):
    """The lines and waits of a hub; nothing really waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float] = []


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    lines = Told()
    monkeypatch.setattr(time, "sleep", lines.waited.append)
    return lines


@pytest.fixture
def hub(double: HubDouble, tmp_path: Path, told: Told) -> Hub:
    return make(double, tmp_path, told)


def make(double: HubDouble, folder: Path, told: Told, offline: bool = False) -> Hub:
    return Hub(told.append, double.url, folder / "cache", offline, sleep=told.waited.append)


def failure(kind: type[AtlasError], status: int, hub: Hub, path: str = BIG, **more: str) -> str:
    """The line of a download that must fail; nothing is left under the file's name."""
    with pytest.raises(kind) as caught:
        hub.download(more.pop("repository", REPOSITORY), path, **more)
    assert caught.value.status == status
    line = str(caught.value)
    assert "\n" not in line
    assert "hf_" not in line.replace("hf_hub", "")
    assert not [p for p in hub.cache.rglob(path) if p.is_file()]
    assert not list(hub.cache.rglob("*.incomplete"))
    return line


class TestFetching:
    def test_a_file_is_fetched_once_and_hashed(self, hub: Hub, double: HubDouble) -> None:
        first = hub.download(REPOSITORY, BIG)
        assert first.path.read_bytes() == BODY
        assert (first.sha256, first.bytes) == (hashlib.sha256(BODY).hexdigest(), len(BODY))
        assert COMMIT.fullmatch(first.commit or "")
        assert double.asked("/revision/") == ["GET"], "a revision is resolved once"
        double.forget()
        assert hub.download(REPOSITORY, BIG) == first
        assert hub.download(REPOSITORY, BIG, revision=first.commit or "").path == first.path
        assert [r.path for r in double.log if "/resolve/" in r.path] == []

    def test_listing(self, hub: Hub) -> None:
        listed = hub.list_files(REPOSITORY)
        assert set(listed) == set(FILES)
        assert listed[BIG].sha256 == hashlib.sha256(BODY).hexdigest()
        assert listed[BIG].git_sha1 is None
        assert listed[SMALL].git_sha1 is not None
        assert listed[SMALL].bytes == len(FILES[SMALL])

    def test_branches_and_data_sets(self, hub: Hub, double: HubDouble) -> None:
        for name in ("step0", "stage1-step150-tokens1B"):
            double.add(REPOSITORY, {"a.json": name.encode()}, revision=name)
        double.add("owner/rows", {"x.pt": b"rows"}, repo_type="dataset")
        assert hub.branches(REPOSITORY) == ["main", "stage1-step150-tokens1B", "step0"]
        assert hub.download(REPOSITORY, "a.json", "step0").path.read_bytes() == b"step0"
        assert hub.download("owner/rows", "x.pt", repo_type="dataset").bytes == 4

    def test_a_branch_that_moves_changes_nothing(self, hub: Hub, double: HubDouble) -> None:
        """A22: all files come from the commit that was resolved first."""
        first = hub.download(REPOSITORY, SMALL)
        moved = double.add(REPOSITORY, {BIG: b"other" * 1000, SMALL: b"{}"})
        later = hub.download(REPOSITORY, BIG)
        assert later.commit == first.commit != moved
        assert later.path.read_bytes() == BODY

    def test_progress(self, hub: Hub, double: HubDouble, monkeypatch: pytest.MonkeyPatch,
                      told: Told) -> None:
        monkeypatch.setattr("precompute.hub_client.TELL_EVERY", 0.0)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 18)
        double.add(REPOSITORY, {"big.bin": BODY * 3})
        hub.download(REPOSITORY, "big.bin")
        assert "fetching big.bin: 3 of 3 MB" in told

    def test_progress_of_a_xet_download(self, monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
        """The double speaks plain HTTP only; this is what the client does with the bar then."""
        monkeypatch.setattr("precompute.hub_client.TELL_EVERY", 0.0)
        bar = progress_bar(told.append, Listed("big.bin", 3_000_000))
        with XetDownloadProgressReporter(
            reconstruction_desc="big.bin", total=3_000_000, log_level=30, tqdm_class=bar
        ) as reporter:
            for done in (1_000_000, 3_000_000):
                reporter.update_progress(SimpleNamespace(
                    total_bytes_completed=done, total_transfer_bytes_completed=9 * done,
                    total_bytes_completion_rate=1.0, total_transfer_bytes_completion_rate=1.0,
                    total_bytes=3_000_000,
                ))
        assert told == ["fetching big.bin: 1 of 3 MB", "fetching big.bin: 3 of 3 MB"]

    def test_release_takes_back_only_what_was_fetched(
        self, hub: Hub, double: HubDouble, tmp_path: Path, told: Told
    ) -> None:
        fetched = hub.download(REPOSITORY, BIG)
        other = make(double, tmp_path, told)
        other.release(other.download(REPOSITORY, BIG))
        assert fetched.path.is_file(), "it was in the cache before"
        hub.release(fetched)
        assert not fetched.path.exists()
        assert not any(p.stat().st_size == len(BODY) for p in hub.cache.rglob("*") if p.is_file())

    def test_place_links_and_outlives_the_cache(self, hub: Hub, tmp_path: Path) -> None:
        fetched = hub.download(REPOSITORY, BIG)
        target = tmp_path / "store" / "dictionary.safetensors"
        place(fetched.path, target)
        assert not target.is_symlink()
        assert target.samefile(fetched.path)
        hub.release(fetched)
        assert target.read_bytes() == BODY

    def test_upload(self, hub: Hub, double: HubDouble, tmp_path: Path,
                    monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tmp_path / "shared"
        folder.mkdir()
        (folder / "README.md").write_text("---\nlicense: mit\n---\n# card\n")
        (folder / "features.parquet").write_bytes(BODY)
        with pytest.raises(HubError) as refused:
            hub.make_repository("owner/atlas")
        assert refused.value.status == 4
        assert "HF_TOKEN" in str(refused.value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        hub.make_repository("owner/atlas")
        commit = hub.upload_folder("owner/atlas", folder, "first")
        assert hub.commit_of("owner/atlas", repo_type="dataset") == commit
        fetched = hub.download("owner/atlas", "features.parquet", repo_type="dataset")
        assert fetched.path.read_bytes() == BODY
        again = hub.upload_folder("owner/atlas", folder, "second")
        assert again == commit, "nothing changed, nothing is committed"
        hub.upload_folder("owner/atlas", tmp_path / "nothing", "third", gone=["features.parquet"])
        assert set(make(double, tmp_path, Told()).list_files("owner/atlas", repo_type="dataset")
                   ) == {"README.md"}

    def test_private_is_asked_for_a_public_data_set(
        self, hub: Hub, double: HubDouble, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        hub.make_repository("owner/hidden", private=True)
        hub.make_repository("owner/hidden", private=True)
        hub.make_repository("owner/shown")
        with pytest.raises(InvalidValue, match="owner/shown is there and public"):
            hub.make_repository("owner/shown", private=True)


class TestSharedBodies:
    """With Xet a body is kept once for the whole cache, under its Xet hash."""

    def share(self, hub: Hub, repository: str = REPOSITORY) -> tuple[Path, Path, Path]:
        """What Xet leaves of a fetched file: pointer, link named by sha256, shared body."""
        pointer = hub.download(repository, BIG).path
        link = Path(os.path.normpath(pointer.parent / os.readlink(pointer)))
        body = hub.cache / "blobs" / "ab" / ("ab" * 32)
        body.parent.mkdir(parents=True, exist_ok=True)
        os.replace(link, body)
        link.symlink_to(os.path.relpath(body, link.parent))
        return pointer, link, body

    def test_offline_it_is_held_to_its_sha256(
        self, hub: Hub, double: HubDouble, tmp_path: Path, told: Told
    ) -> None:
        pointer, link, body = self.share(hub)
        without = make(double, tmp_path, told, offline=True)
        listed = without.list_files(REPOSITORY)[BIG]
        assert listed.sha256 == hashlib.sha256(BODY).hexdigest()
        assert without.download(REPOSITORY, BIG).path == pointer
        body.write_bytes(BODY[:-1] + b"x")
        with pytest.raises(BrokenArtifact, match=f"remove {body}"):
            without.download(REPOSITORY, BIG)
        assert body.is_file(), "other repositories use it"
        assert not link.is_symlink()
        assert not (hub.cache / QUARANTINE).exists()

    def test_one_that_was_here_is_not_taken_back(
        self, hub: Hub, double: HubDouble, tmp_path: Path, told: Told
    ) -> None:
        pointer, link, body = self.share(hub)
        pointer.unlink()  # the client makes no more than a pointer
        later = make(double, tmp_path, told)
        later.release(later.download(REPOSITORY, BIG))
        assert (pointer.is_file(), link.is_symlink(), body.is_file()) == (True, True, True)

    def test_one_that_another_repository_links_stays(self, hub: Hub, double: HubDouble) -> None:
        fetched = hub.download(REPOSITORY, BIG)
        pointer, link, body = self.share(hub)
        other = hub.cache / "models--owner--other" / "blobs" / link.name
        other.parent.mkdir(parents=True)
        other.symlink_to(os.path.relpath(body, other.parent))
        hub.release(fetched)
        assert (pointer.exists(), link.is_symlink(), body.is_file()) == (False, False, True)
        other.unlink()
        alone = hub.download(REPOSITORY, BIG)
        self.share(hub)
        hub.release(alone)
        assert not body.exists()

    def test_a_body_of_two_commits_stays_with_one(self, hub: Hub, double: HubDouble) -> None:
        first = hub.download(REPOSITORY, BIG)
        second = double.add(REPOSITORY, {"README.md": b"# another"})
        same = hub.download(REPOSITORY, BIG, second)
        assert same.path != first.path
        hub.release(first)
        assert not first.path.exists()
        assert same.path.read_bytes() == BODY


class TestFaults:
    """Rows A1 to A12 of the reliability plan."""

    def test_corrupt_body_of_the_right_size(self, hub: Hub, double: HubDouble) -> None:
        """A1: the client takes it; it is put aside and refused, and the next call heals."""
        double.fail(BIG, "corrupt", method="GET")
        line = failure(BrokenArtifact, 3, hub)
        assert f"{REPOSITORY}/{BIG} has the wrong sha256: want " in line
        aside = list((hub.cache / QUARANTINE).iterdir())
        assert len(aside) == 1
        assert str(aside[0]) in line
        true = hashlib.sha256(BODY).hexdigest()
        assert not list(hub.cache.rglob(true)), "nothing false lies under the true name"
        assert hub.download(REPOSITORY, BIG).sha256 == true

    def test_corrupt_small_file(self, hub: Hub, double: HubDouble) -> None:
        double.fail(SMALL, "corrupt", method="GET")
        assert "git sha1" in failure(BrokenArtifact, 3, hub, SMALL)

    def test_a_cached_file_damaged_later(self, hub: Hub) -> None:
        blob = hub.download(REPOSITORY, BIG).path.resolve()
        blob.write_bytes(BODY[:-1] + b"x")
        assert "sha256" in failure(BrokenArtifact, 3, hub)
        blob = hub.download(REPOSITORY, BIG).path.resolve()
        blob.write_bytes(BODY[:100])
        assert "wrong size" in failure(BrokenArtifact, 3, hub)

    def test_a_hash_that_is_expected(self, hub: Hub) -> None:
        with pytest.raises(BrokenArtifact, match="want aaaa"):
            hub.download(REPOSITORY, SMALL, expected="aaaa")

    @pytest.fixture
    def small_pieces(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What came before a cut is written, as it is of a file of gigabytes."""
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)

    @pytest.mark.usefixtures("small_pieces")
    def test_cut_once_heals(self, hub: Hub, double: HubDouble, told: Told) -> None:
        """A2: the client goes on where it stopped."""
        double.fail(BIG, "cut", method="GET")
        assert hub.download(REPOSITORY, BIG).path.read_bytes() == BODY
        assert double.asked("/storage/") == ["GET", "GET"]
        assert double.log[-1].status == 206
        assert any("broke off" in line for line in told)

    @pytest.mark.usefixtures("small_pieces")
    def test_range_ignored(self, hub: Hub, double: HubDouble) -> None:
        """A4: then it begins again, and nothing is there twice."""
        double.fail(BIG, "cut", method="GET")
        double.fail(BIG, "norange", method="GET")
        assert hub.download(REPOSITORY, BIG).path.read_bytes() == BODY
        assert double.log[-1].status == 200

    def test_cut_always(self, hub: Hub, double: HubDouble) -> None:
        double.fail(BIG, "cut", method="GET", times=99, share=0.0)
        assert "broke off" in failure(HubError, 4, hub)
        assert len(double.asked("/storage/")) <= 6

    def test_short_body(self, hub: Hub, double: HubDouble) -> None:
        """A3: shorter than listed, and the server says so itself."""
        double.fail(BIG, "short", method="GET", times=99)
        assert "wrong size" in failure(HubError, 4, hub)

    def test_range_not_satisfiable(self, hub: Hub, double: HubDouble) -> None:
        double.fail(BIG, "status", method="GET", code=416)
        assert "416" in failure(HubError, 4, hub)

    @pytest.mark.parametrize("code", [500, 502, 503, 504])
    def test_a_failing_body_is_asked_for_again(
        self, hub: Hub, double: HubDouble, told: Told, code: int
    ) -> None:
        """A5: the client does not retry a body's 5xx; we do, and say so."""
        double.fail("/storage/", "status", code=code)
        assert hub.download(REPOSITORY, BIG).bytes == len(BODY)
        assert double.asked("/storage/") == ["GET", "GET"]
        assert any(f"failed with {code}" in line and "try 2 of at most 5" in line for line in told)
        assert told.waited == [1.0]

    def test_a_body_that_always_fails(self, hub: Hub, double: HubDouble, told: Told) -> None:
        double.fail("/storage/", "status", code=503, times=99)
        assert "503" in failure(HubError, 4, hub)
        assert len(double.asked("/storage/")) == door.TRIES
        assert sum(told.waited) <= door.BUDGET

    @pytest.mark.parametrize(("match", "method"), [("/storage/", "GET"), ("/revision/", "GET"),
                                                  ("/resolve/", "HEAD")])
    def test_limited(
        self, hub: Hub, double: HubDouble, told: Told, match: str, method: str
    ) -> None:
        """A6: waits as long as it is told to, and says so."""
        double.fail(match, "status", method=method, code=429,
                    headers={"RateLimit": '"api";r=0;t=2'}, times=2 if method == "HEAD" else 1)
        assert hub.download(REPOSITORY, BIG).bytes == len(BODY)
        assert 3.0 in told.waited
        assert any("limits requests" in line and "3 s" in line for line in told)

    def test_limited_for_longer_than_is_waited(
        self, hub: Hub, double: HubDouble, told: Told
    ) -> None:
        double.fail("/revision/", "status", code=429, headers={"Retry-After": "9999"}, times=9)
        assert "run this again later" in failure(HubError, 4, hub)
        assert told.waited == []

    def test_failing_look_ups(self, hub: Hub, double: HubDouble, told: Told) -> None:
        """A7: three failing heads heal; the wait is bounded and told."""
        double.fail("/resolve/", "status", method="HEAD", code=500, times=3)
        assert hub.download(REPOSITORY, BIG).bytes == len(BODY)
        assert 0 < sum(told.waited) < 60
        assert any("waiting" in line for line in told)

    def test_a_look_up_that_hangs(
        self, hub: Hub, double: HubDouble, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(door, "TIMEOUT", 0.1)
        double.fail("/revision/", "hang", seconds=2.0)
        assert hub.download(REPOSITORY, BIG).bytes == len(BODY)

    def test_sentences_are_distinct(
        self, hub: Hub, double: HubDouble, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
        told: Told,
    ) -> None:
        """A8: file, revision, repository, gate, right and token."""
        double.add("owner/gated", FILES)
        double.add("owner/forbidden", FILES)
        double.gated.add("owner/gated")
        double.forbidden.add("owner/forbidden")
        lines = [
            failure(NotThere, 4, hub, "run/none.json"),
            failure(NotThere, 4, hub, revision="step7"),
            failure(NotThere, 4, hub, repository="owner/nothing"),
            failure(HubError, 4, hub, repository="owner/gated"),
            failure(HubError, 4, hub, repository="owner/forbidden"),
        ]
        monkeypatch.setenv("HF_TOKEN", "hf_wrongwrongwrong")
        lines.append(failure(HubError, 4, make(double, tmp_path, told)))
        said = ("has no file run/none.json", "has no revision step7", "has no repository",
                "is gated", "403", "401")
        for line, words in zip(lines, said, strict=True):
            assert words in line
        assert f"{double.url}/owner/gated" in lines[3]
        assert "HF_TOKEN" in lines[3]
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        allowed = make(double, tmp_path, told)
        assert allowed.download("owner/gated", SMALL).bytes == len(FILES[SMALL])

    def test_captive_portal_and_wrong_mirror(self, hub: Hub, double: HubDouble) -> None:
        """A9: something answers that is no hub."""
        double.fail("/revision/", "html")
        assert "is not a Hugging Face hub" in failure(HubError, 4, hub)
        double.fail("/resolve/", "headerless", method="HEAD", times=9)
        assert "is not a Hugging Face hub" in failure(HubError, 4, hub)
        double.faults.clear()
        double.fail("/storage/", "html", times=9)
        assert failure(HubError, 4, hub)

    def test_token_stays_at_the_hub(
        self, hub: Hub, double: HubDouble, monkeypatch: pytest.MonkeyPatch, told: Told,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """A12: not at the storage's address, not in a line, not in a file."""
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        double.fail("/storage/", "status", code=503)
        hub.download(REPOSITORY, BIG)
        sent = {r.path.split("/")[1]: "authorization" in r.headers for r in double.log}
        assert sent["api"] is True
        assert sent["storage"] is False
        assert not any("hf_" in line for line in told)
        assert TOKEN not in "".join(capfd.readouterr())
        kept = [p for p in hub.cache.rglob("*") if p.is_file()]
        assert not any(TOKEN.encode() in p.read_bytes() for p in kept)

    def test_sizes_are_bounded_before_a_byte_is_fetched(
        self, hub: Hub, double: HubDouble
    ) -> None:
        double.add(REPOSITORY, {"huge.json": b" " * 5_000_001, "tokenizer.json": b" " * 5_000_001})
        assert "5,000,001" in failure(BrokenArtifact, 3, hub, "huge.json")
        assert double.asked("huge.json") == []
        assert hub.download(REPOSITORY, "tokenizer.json").bytes == 5_000_001

    def test_a_body_longer_than_listed(
        self, hub: Hub, double: HubDouble, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.list_files(REPOSITORY)
        listing = next(iter(hub._listings.values()))[1]
        listing[BIG] = type(listing[BIG])(BIG, 1000)
        assert "1,000 bytes" in failure(BrokenArtifact, 3, hub)

    @pytest.mark.parametrize("name", ["../../etc/passwd", "a/../b", "/etc/passwd", "a\\b", "a\nb",
                                      "", "a" * 300])
    def test_names_of_files(self, hub: Hub, double: HubDouble, name: str) -> None:
        with pytest.raises(BrokenArtifact):
            hub.download(REPOSITORY, name)
        assert double.log == []

    @pytest.mark.parametrize("name", ["owner", "../x/y", "a/b/c", "a/b;c", ""])
    def test_names_of_repositories(self, hub: Hub, name: str) -> None:
        with pytest.raises(InvalidValue):
            hub.commit_of(name)
        with pytest.raises(InvalidValue):
            hub.commit_of(REPOSITORY, name + "/../..")

    def test_no_space(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        class Usage:
            free = 1000

        monkeypatch.setattr(safety.shutil, "disk_usage", lambda path: Usage)
        failure(NoSpace, 6, hub)

    def test_a_disk_that_fills(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*args: object, **kwargs: object) -> str:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(door.huggingface_hub, "hf_hub_download", full)
        failure(NoSpace, 6, hub)

    def test_a_cache_that_may_not_be_written(self, hub: Hub) -> None:
        hub.cache.write_text("a file")
        with pytest.raises(InvalidValue, match="HF_HOME"):
            hub.download(REPOSITORY, BIG)


class TestOffline:
    def test_what_is_cached_works(
        self, hub: Hub, double: HubDouble, tmp_path: Path, told: Told
    ) -> None:
        """A10: no socket is opened."""
        first = hub.download(REPOSITORY, BIG)
        double.forget()
        without = make(double, tmp_path, told, offline=True)
        assert without.download(REPOSITORY, BIG) == first
        assert without.commit_of(REPOSITORY) == first.commit
        assert set(without.list_files(REPOSITORY)) == {BIG}
        assert without.is_here(REPOSITORY, BIG)
        assert not without.is_here(REPOSITORY, SMALL)
        with pytest.raises(NotCached) as missing:
            without.download(REPOSITORY, SMALL)
        assert missing.value.names == (f"{REPOSITORY}/{SMALL} at main",)
        assert missing.value.status == 4
        with pytest.raises(NotCached, match="owner/other at main"):
            without.list_files("owner/other")
        first.path.resolve().write_bytes(BODY[:-1] + b"x")
        with pytest.raises(BrokenArtifact):
            without.download(REPOSITORY, BIG)
        assert double.log == []

    def test_a_network_that_is_gone(
        self, hub: Hub, double: HubDouble, tmp_path: Path, told: Told
    ) -> None:
        first = hub.download(REPOSITORY, BIG)
        double.stop()
        without = make(double, tmp_path, told)
        assert without.download(REPOSITORY, BIG) == first
        assert any("does not answer" in line and "on this machine" in line for line in told)
        failure(NotCached, 4, without, SMALL)

    def test_the_environment_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert door.asked_offline()
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        assert not door.asked_offline()

    def test_publishing_needs_a_network(self, double: HubDouble, tmp_path: Path, told: Told
                                        ) -> None:
        with pytest.raises(HubError, match="HF_HUB_OFFLINE"):
            make(double, tmp_path, told, offline=True).upload_folder("o/n", tmp_path, "x")
        lost = make(double, tmp_path, told)
        double.stop()
        with pytest.raises(HubError):
            lost.list_files(REPOSITORY)
        with pytest.raises(HubError, match="does not answer") as gone:
            lost.make_repository("o/n")
        assert "HF_HUB_OFFLINE" not in str(gone.value)


def test_killed_while_fetching(double: HubDouble, tmp_path: Path, told: Told) -> None:
    """A11: the next run completes, and the stray piece is swept."""
    double.fail(BIG, "slow", method="GET", seconds=0.2, piece=1 << 18)
    code = (
        "import sys; from pathlib import Path; from huggingface_hub import constants; "
        "constants.DOWNLOAD_CHUNK_SIZE = 1 << 16; from precompute.hub import Hub; "
        f"Hub(cache=Path(sys.argv[1])).download({REPOSITORY!r}, {BIG!r})"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "cache")], cwd=ROOT,
        env=double.environment(tmp_path / "home"),
    )
    deadline = time.monotonic() + 60
    pieces: list[Path] = []
    while not any(p.stat().st_size for p in pieces) and time.monotonic() < deadline:
        assert child.poll() is None
        pieces = list((tmp_path / "cache").rglob("*.incomplete"))
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert len(list((tmp_path / "cache").rglob("*.incomplete"))) == 1
    hub = make(double, tmp_path, told)
    assert hub.download(REPOSITORY, BIG).path.read_bytes() == BODY
    assert not list((tmp_path / "cache").rglob("*.incomplete"))


class TestMirror:
    @pytest.fixture
    def mirror(self, tmp_path: Path) -> Mirror:
        root = tmp_path / "mirror"
        for name, content in FILES.items():
            path = root / REPOSITORY / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        step = root / REPOSITORY / "step1000"
        step.mkdir()
        (step / "model.safetensors").write_bytes(b"weights")
        (step / "._model.safetensors").write_bytes(b"left by macOS")
        rows = root / "owner" / "rows"
        rows.mkdir()
        (rows / "x.pt").write_bytes(b"rows")
        return Mirror(root)

    def test_files(self, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
        def closed(*args: object) -> None:
            raise AssertionError("a mirror opens no socket")

        monkeypatch.setattr(socket.socket, "connect", closed)
        assert BIG in mirror.list_files(REPOSITORY)
        fetched = mirror.download(REPOSITORY, BIG)
        assert (fetched.sha256, fetched.commit) == (hashlib.sha256(BODY).hexdigest(), None)
        assert list(mirror.list_files(REPOSITORY, "step1000")) == ["model.safetensors"]
        assert "step1000" in mirror.branches(REPOSITORY)
        assert mirror.download("owner/rows", "x.pt", repo_type="dataset").bytes == 4
        assert mirror.is_here(REPOSITORY, SMALL)
        mirror.release(fetched)
        assert fetched.path.is_file(), "a mirror is someone's"

    def test_what_is_not_there(self, mirror: Mirror, tmp_path: Path) -> None:
        for arguments in (("owner/none", "x.json"), (REPOSITORY, "none.json"),
                          (REPOSITORY, "model.safetensors", "step7")):
            with pytest.raises(NotInMirror) as missing:
                mirror.download(*arguments)
            assert missing.value.status == 2
            assert str(tmp_path / "mirror") in str(missing.value)
        with pytest.raises(BrokenArtifact):
            mirror.download(REPOSITORY, "../../secret")
        with pytest.raises(BrokenArtifact, match="want aaaa"):
            mirror.download(REPOSITORY, SMALL, expected="aaaa")
        with pytest.raises(InvalidValue, match="no folder"):
            Mirror(tmp_path / "nowhere")

    def test_loose_snapshots(self, mirror: Mirror) -> None:
        name = "EleutherAI_pythia-160m_step1000_w{}.{}"
        flat, nested = mirror.root / "snapshots", mirror.root / "snapshots" / "pythia-160m"
        nested.mkdir(parents=True)
        (nested / name.format("u", "pt")).write_bytes(b"nested")
        (nested / ("._" + name.format("e", "pt"))).write_bytes(b"left by macOS")
        find = mirror.loose_snapshot
        assert find("EleutherAI/pythia-160m", 1000, "W_U") == nested / name.format("u", "pt")
        assert find("EleutherAI/pythia-160m", 1000, "W_E") is None
        assert find("EleutherAI/pythia-160m", 100, "W_U") is None
        (flat / name.format("u", "safetensors")).write_bytes(b"flat")
        assert find("EleutherAI/pythia-160m", 1000, "W_U") == flat / name.format("u", "safetensors")
