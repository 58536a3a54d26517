"""How files are fetched: once, whole or not at all, and never another one than was asked for."""

import hashlib
import io
import socket
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from skmm.datasets import _fetching, get_data_home
from skmm.datasets._fetching import Fetching, RemoteFile, members

BODY = b"features " * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()


def remote(server, sha256=SHA256, max_bytes=10_000):
    server.files.setdefault("features.txt", BODY)
    return RemoteFile("features.txt", max_bytes, server.url("features.txt"), sha256)


def fetch(tmp_path, file, **how):
    return Fetching(tmp_path, **{"n_retries": 0, "delay": 0, **how}).path("set", file)


def kept(tmp_path):
    """Names of all files below a folder."""
    return sorted(path.name for path in tmp_path.rglob("*") if path.is_file())


def test_downloads_once_then_needs_no_server(tmp_path, server):
    file = remote(server)
    path = fetch(tmp_path, file)
    assert path == tmp_path / "set" / "features.txt"
    assert path.read_bytes() == BODY
    server.files.clear()
    assert fetch(tmp_path, file, download_if_missing=False) == path
    assert server.requests == ["features.txt"]
    assert kept(tmp_path) == ["features.txt"]


@pytest.mark.parametrize("length", [None, "no length"], ids=["announced", "of no announced length"])
def test_another_file_is_refused_and_not_kept(tmp_path, server, length):
    server.files["features.txt"] = b"<html>please log in</html>"
    server.failures["features.txt"] = [length]
    with pytest.raises(OSError, match=f"expected {SHA256}: it is another file, .* Nothing was kept"):
        fetch(tmp_path, remote(server), n_retries=3)
    assert kept(tmp_path) == []
    assert len(server.requests) == 1


def test_what_the_server_does_not_have_is_asked_for_once(tmp_path, server):
    server.failures["features.txt"] = [404]
    with pytest.raises(OSError, match=r"answers 404 Not Found\. Without a network.* put it at '.*features\.txt'"):
        fetch(tmp_path, remote(server), n_retries=3)
    assert len(server.requests) == 1
    assert kept(tmp_path) == []


@pytest.mark.parametrize(("failure", "said"), [("cut off", "it ended after 4500 of 9000 bytes"), (503, "503")])
def test_what_passes_is_tried_again(tmp_path, server, failure, said):
    server.failures["features.txt"] = [failure, failure]
    with pytest.warns(UserWarning, match=f"{said}.*; trying again") as caught:
        path = fetch(tmp_path, remote(server), n_retries=2)
    assert [str(w.message).rpartition(", ")[2] for w in caught] == ["2 more times.", "1 more time."]
    assert path.read_bytes() == BODY
    assert Path(caught[0].filename) == Path(__file__)


def test_a_download_that_always_ends_in_the_middle_leaves_nothing(tmp_path, server):
    server.failures["features.txt"] = ["cut off"] * 2
    with (
        pytest.warns(UserWarning, match="trying again, 1 more time"),
        pytest.raises(OSError, match="could not be downloaded: it ended after 4500 of 9000 bytes"),
    ):
        fetch(tmp_path, remote(server), n_retries=1)
    assert kept(tmp_path) == []


def test_without_a_network_the_error_says_what_to_put_where(tmp_path, server):
    with socket.socket() as unheard:  # bound, and nobody listens
        unheard.bind(("127.0.0.1", 0))
        file = replace(remote(server), url=f"http://127.0.0.1:{unheard.getsockname()[1]}/features.txt")
    with pytest.raises(OSError, match=r"features\.txt could not be downloaded: .*refused.*put it at") as caught:
        fetch(tmp_path, file)
    assert file.url in str(caught.value)
    assert str(tmp_path / "set" / "features.txt") in str(caught.value)
    (tmp_path / "set" / "features.txt").write_bytes(BODY)  # as it says
    assert fetch(tmp_path, file).read_bytes() == BODY


@pytest.mark.parametrize(
    ("length", "said"), [(None, "announces 9000 bytes"), ("no length", "sends more than the 50")]
)
def test_a_file_that_is_too_long_is_given_up(tmp_path, server, length, said):
    server.failures["features.txt"] = [length]
    with pytest.raises(OSError, match=said):
        fetch(tmp_path, remote(server, max_bytes=50))
    assert kept(tmp_path) == []


def test_an_interrupted_download_leaves_nothing(tmp_path, server, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(_fetching, "urlopen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, remote(server))
    assert kept(tmp_path) == []


def test_a_damaged_file_on_disk_is_refused(tmp_path, server):
    file = remote(server)
    path = fetch(tmp_path, file)
    path.write_bytes(BODY[:-1])
    with pytest.raises(OSError, match=r"it is damaged, or another version than http.*\. Delete it\."):
        fetch(tmp_path, file)
    path.unlink()
    assert fetch(tmp_path, file).read_bytes() == BODY


def test_without_a_known_digest_the_first_copy_is_what_later_ones_are_held_to(tmp_path, server):
    file = remote(server, sha256=None)
    path = fetch(tmp_path, file)
    assert kept(tmp_path) == ["features.txt", "features.txt.sha256"]
    subprocess.run(["sha256sum", "-c", "--status", "features.txt.sha256"], cwd=path.parent, check=True)

    path.unlink()
    server.files["features.txt"] = b"something else"
    with pytest.raises(OSError, match=r"Nothing was kept, and 'features\.txt\.sha256' beside it if"):
        fetch(tmp_path, file)
    (path.parent / "features.txt.sha256").unlink()
    assert fetch(tmp_path, file).read_bytes() == b"something else"


def test_a_copy_put_there_by_hand_is_recorded_too(tmp_path, server):
    file = remote(server, sha256=None)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "features.txt").write_bytes(BODY)
    path = fetch(tmp_path, file)
    path.write_bytes(BODY[1:])
    with pytest.raises(OSError, match=f"expected {SHA256}"):
        fetch(tmp_path, file)
    assert server.requests == []


def test_the_page_that_people_find_the_file_on_is_named(tmp_path, server):
    server.failures["features.txt"] = [404]
    file = replace(remote(server), page="https://example.org/sets")
    with pytest.raises(OSError, match=r"\(or features\.txt of https://example\.org/sets\) and put it"):
        fetch(tmp_path, file)


def test_not_there_and_not_to_be_downloaded(tmp_path, server):
    with pytest.raises(FileNotFoundError, match="download_if_missing=False: download http://"):
        fetch(tmp_path, remote(server), download_if_missing=False)
    assert server.requests == []


def test_several_at_once_get_the_whole_file(tmp_path, server):
    file = remote(server)
    with ThreadPoolExecutor(4) as pool:
        bodies = list(pool.map(lambda _: fetch(tmp_path, file).read_bytes(), range(8)))
    assert bodies == [BODY] * 8
    assert kept(tmp_path) == ["features.txt"]


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://example.org/x", "features.txt"])
def test_only_http_is_fetched(tmp_path, url):
    with pytest.raises(ValueError, match=r"must begin with https://"):
        fetch(tmp_path, RemoteFile("x", 10, url))


@pytest.mark.parametrize("wrong", [{"n_retries": -1}, {"n_retries": 1.5}, {"delay": -1}, {"delay": "soon"}])
def test_wrong_parameters(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Fetching(**wrong)


def test_a_folder_that_cannot_be_made_says_how_to_choose_another(tmp_path, server):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OSError, match="cannot be written to .* data_home, or .* SKMM_DATA_HOME"):
        fetch(tmp_path / "taken", remote(server))


def test_a_folder_that_cannot_be_written_to_says_so(tmp_path, server, monkeypatch):
    def refused(self, exist_ok=True):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refused)  # root may write anywhere
    with pytest.raises(OSError, match=r"cannot be written to \(Permission denied\): choose another by data_home"):
        fetch(tmp_path, remote(server))


def test_the_data_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SKMM_DATA_HOME", raising=False)
    assert get_data_home() == str(tmp_path / "skmm_data")
    monkeypatch.setenv("SKMM_DATA_HOME", "~/elsewhere")
    assert get_data_home() == str(tmp_path / "elsewhere")
    assert get_data_home(tmp_path / "here") == str(tmp_path / "here")
    assert all((tmp_path / name).is_dir() for name in ("skmm_data", "elsewhere", "here"))


def zipped(folder, **content):
    with zipfile.ZipFile(folder / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in content.items():
            archive.writestr(name, body)
    return folder / "archive.zip"


def test_members_of_an_archive_are_read_and_never_unpacked(tmp_path):
    path = zipped(tmp_path, **{"../../b.txt": b"2", "/a.txt": b"1", "c.bin": b"3"})
    before = kept(tmp_path.parent)
    assert [(match[1], body) for match, body in members(path, r".*(\w)\.txt", 100)] == [("b", b"2"), ("a", b"1")]
    assert kept(tmp_path.parent) == before


def test_an_archive_that_unpacks_to_more_than_it_may_is_refused(tmp_path):
    path = zipped(tmp_path, **{"a.txt": bytes(10_000_000)})
    assert path.stat().st_size < 20_000
    with pytest.raises(ValueError, match="take 10000000 bytes unpacked, where 1000000 are the limit"):
        next(members(path, r".*\.txt", 1_000_000))


def test_a_member_that_lies_about_its_size_is_refused(tmp_path):
    """The directory announces 10 bytes where a million are packed."""
    body = zipped(tmp_path, **{"a.txt": bytes(1_000_000)}).read_bytes()
    size = (1_000_000).to_bytes(4, "little")
    assert body.count(size) == 2
    lying = io.BytesIO(body.replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(zipfile.BadZipFile, match="Bad CRC"):
        next(members(lying, r".*\.txt", 100))


def test_an_archive_without_what_is_looked_for_lists_what_it_has(tmp_path):
    path = zipped(tmp_path, **{"readme.md": b"", "x.csv": b""})
    with pytest.raises(ValueError, match=r"none of its 2 members is called .*\['readme\.md', 'x\.csv'\]"):
        next(members(path, r".*\.wav", 100))
