"""Public sets: found, verified, fetched from a server that drops, truncates and corrupts, and unpacked without harm."""

import hashlib
import io
import shutil
import socket
import tarfile
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch

from moereg import cli
from moereg.data import datasets, publicsets, save_volume, verifying
from moereg.data.fetching import CHUNK, fetch
from moereg.data.publicsets import CARDS
from moereg.data.unpacking import unpack

pytestmark = pytest.mark.plain_errors
PHASES = {"abdomen-ct": ("0000",), "lung-ct": ("exp", "insp"), "acdc": ("01", "12")}
NUMBERS = range(1, 21)  # enough for every split
SUBJECT = {
    "hippocampus": "hippocampus_{:03d}", "oasis": "OASIS_OAS1_{:04d}_MR1", "abdomen-ct": "AbdomenCTCT_{:04d}",
    "lung-ct": "case_{:03d}", "acdc": "patient{:03d}",
}  # fmt: skip


def put(folder, card, numbers=NUMBERS):
    """A set in miniature, in its first layout."""
    layout, generator = card.layouts[0], torch.Generator().manual_seed(0)
    for number in numbers:
        subject = SUBJECT[card.name].format(number)
        for phase in PHASES.get(card.name, ("",)):
            image = folder / layout.images.format(subject=subject, phase=phase)
            image.parent.mkdir(parents=True, exist_ok=True)
            save_volume(image, torch.rand(4, 5, 6, generator=generator), np.eye(4))
            labels = layout.labels_of(folder, image)
            labels.parent.mkdir(parents=True, exist_ok=True)
            save_volume(labels, torch.ones(4, 5, 6, dtype=torch.int64).triu(), np.eye(4))
    return folder


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    """Every set in miniature below one folder."""
    base = tmp_path_factory.mktemp("sets")
    for card in CARDS.values():
        put(base / card.folders[0], card)
    return base


@pytest.fixture
def home(tmp_path, monkeypatch):
    """No data, and a cache of its own."""
    monkeypatch.delenv("MOEREG_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


# ---- where sets are ----


@pytest.mark.parametrize("name", CARDS)
def test_every_set_is_found_and_loaded_by_its_name(name, master, monkeypatch):
    monkeypatch.setenv("MOEREG_DATA", str(master))
    card = CARDS[name]
    parts = [datasets.load(name, split) for split in ("train", "val", "test") if name != "oasis" or split != "val"]
    subjects = [{card.layouts[0].pattern().fullmatch(_below(path, master / card.folders[0]))["subject"]
                 for files in part.files for path in (files.moving, files.fixed)} for part in parts]  # fmt: skip
    assert not set.intersection(*subjects)
    pair = parts[0][0]
    assert pair.shape == ((4, 5, 6) if name != "hippocampus" else datasets.HIPPOCAMPUS_SHAPE)
    assert pair.fixed_labels.max() == 1
    assert pair.label_names == dict(card.label_names)
    files = parts[0].files[0]
    assert files.moving != files.fixed
    if card.within:
        assert len(parts[0]) + sum(map(len, parts[1:])) == len(NUMBERS)
        assert sorted([files.moving.name, files.fixed.name])[0] == files.fixed.name  # the first phase is fixed


def _below(path, folder):
    return path.relative_to(folder).as_posix()


def test_the_other_layout_of_learn2reg(home):
    for subject in ("OASIS_0001", "OASIS_0002", "OASIS_0004"):
        for place in ("imagesTr", "labelsTr"):
            (home / "OASIS" / place).mkdir(parents=True, exist_ok=True)
            save_volume(home / "OASIS" / place / f"{subject}_0000.nii.gz", torch.ones(3, 3, 3).long(), np.eye(4))
    assert publicsets.find(CARDS["oasis"], home) == home / "OASIS"
    assert publicsets.find(CARDS["abdomen-ct"], home) is None


@pytest.mark.parametrize("name", CARDS)
def test_a_missing_set_says_where_it_comes_from(name, home, capsys):
    with pytest.raises(FileNotFoundError, match=CARDS[name].archive) as error:
        datasets.load(name)
    assert str(home / "cache" / "moereg") in str(error.value)
    assert (f"moereg data get {name}" in str(error.value)) == bool(CARDS[name].address)
    assert cli.main(["data", "where", name]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in (CARDS[name].page, CARDS[name].licence, CARDS[name].cite))


def test_the_list_says_what_is_here(master, home, monkeypatch, capsys):
    monkeypatch.setenv("MOEREG_DATA", str(master))
    shutil.copytree(master / "acdc", home / "only" / "acdc")
    monkeypatch.setenv("MOEREG_DATA", str(home / "only"))
    assert cli.main(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[::2]] == list(CARDS)
    assert [line.strip().startswith("here: ") for line in lines[1::2]] == [False] * 4 + [True]


def test_an_unknown_set(home, capsys):
    for action in ("where", "verify", "get"):
        assert cli.main(["data", action, "knee"]) == 2
        assert "name must be one of 'hippocampus'" in capsys.readouterr().err


# ---- verifying ----


def verified(folder, capsys, *more):
    code = cli.main(["data", "verify", "lung-ct", "--folder", str(folder), *more])
    printed = capsys.readouterr()
    return code, printed.out, printed.err.splitlines()[-1:]


def test_the_first_checksums_are_kept_and_compared(home, capsys):
    folder = put(home / "lung-ct", CARDS["lung-ct"], range(1, 4))
    code, said, _ = verified(home, capsys)
    assert code == 0
    assert "3 of 20 subjects, 12 files" in said
    assert "none was known; those of today are written down" in said
    assert verified(home, capsys)[0] == 0
    changed = folder / "scans" / "case_002_exp.nii.gz"
    save_volume(changed, torch.rand(4, 5, 6), np.eye(4))
    (folder / "lungMasks" / "case_003_insp.nii.gz").unlink()
    code, said, (error,) = verified(home, capsys)
    assert code == 2
    assert "compared with those of the first use" in said
    assert "scans/case_002_exp.nii.gz must have the checksum that is known of it" in error
    assert "case_003_insp.nii.gz, which is missing" in error
    save_volume(folder / "lungMasks" / "case_003_insp.nii.gz", torch.ones(4, 5, 6).long(), np.eye(4))
    assert verified(home, capsys, "--accept")[0] == 0
    assert verified(home, capsys)[0] == 0


def test_sums_beside_the_data_are_believed_first(home, capsys):
    folder = put(home / "lung-ct", CARDS["lung-ct"], range(1, 3))
    sums = [(hashlib.sha256(path.read_bytes()).hexdigest(), _below(path, folder)) for path in folder.rglob("*.gz")]
    (folder / "SHA256SUMS").write_text("".join(f"{digest}  ./{name}\n" for digest, name in sums))
    code, said, _ = verified(home, capsys)
    assert code == 0
    assert "compared with SHA256SUMS" in said
    save_volume(folder / "scans" / "case_002_exp.nii.gz", torch.rand(4, 5, 6), np.eye(4))
    assert verified(home, capsys, "--accept")[0] == 2  # what a publisher says is not overruled


def damage(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda path: damage(path, -8), "must be a whole file, but it cannot be unpacked"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "must be a whole file, but it ends too soon"),
        (lambda path: path.write_bytes(b"no scan"), "must be a NIfTI file"),
        (lambda path: save_volume(path, torch.rand(4, 5, 7), np.eye(4)), "must have the same shape"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(harm, words, home, capsys):
    folder = put(home / "lung-ct", CARDS["lung-ct"], range(1, 3))
    harm(folder / "scans" / "case_001_insp.nii.gz")
    code, _, (error,) = verified(home, capsys)
    assert code == 2
    assert "case_001_insp.nii.gz" in error
    assert words in error


@pytest.mark.data
@pytest.mark.usefixtures("hippocampus")
def test_the_scans_that_are_here(capsys, monkeypatch, tmp_path):
    """Only a few are looked at: all of them take seconds."""
    card = CARDS["hippocampus"]
    here = publicsets.find(card)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    layout = card.layout_in(here)
    few = dict(list(layout.images_in(here).items())[:3])
    monkeypatch.setattr(publicsets.Layout, "images_in", lambda self, folder: few)
    checked = verifying.verify(card, here)
    assert checked.problems == ()
    assert checked.subjects == 3


# ---- a server that drops, truncates and corrupts ----


class Server:
    """Serves `data` at every path of 127.0.0.1; `mood` says how."""

    def __init__(self):
        self.data, self.mood, self.asked, self.tag = b"", "good", [], '"one"'
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.http.server_port}/set.tar"

    def answer(self, request):
        self.asked.append(request.headers.get("Range"))
        start, mood = 0, self.mood
        if mood in ("missing", "busy once"):
            self.mood = "good" if mood == "busy once" else mood
            request.send_error(404 if mood == "missing" else 503)
            return
        if request.headers.get("Range") and request.headers.get("If-Range") == self.tag and mood != "no ranges":
            start = int(request.headers["Range"][6:-1])
            if start >= len(self.data):
                request.send_error(416)
                return
            begin = 0 if mood == "wrong range" else start
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {begin}-{len(self.data) - 1}/{len(self.data)}")
        else:
            request.send_response(200)
        body = self.data[start:]
        if mood == "corrupt":
            body = bytes([body[0] ^ 1]) + body[1:]
        if mood != "no length":
            request.send_header("Content-Length", str(10**12 if mood == "huge" else len(body)))
        if mood != "no tag":
            request.send_header("ETag", self.tag)
        request.end_headers()
        if mood in ("drop", "drop and change", "no tag", "no ranges") and len(self.asked) < 4:
            body = body[: len(body) // 2]
        if mood == "stall":
            body = b""
        if mood == "endless":
            body = bytes(10**6)
        request.wfile.write(body)
        request.wfile.flush()
        request.connection.shutdown(socket.SHUT_RDWR)
        if mood == "drop and change":
            self.data, self.tag, self.mood = self.data[::-1], '"two"', "good"


@pytest.fixture
def server():
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


def md5(data):
    return f"md5:{hashlib.md5(data).hexdigest()}"


def fetched(server, folder, **options):
    options = {"checksum": md5(server.data), "most": 10**6, "pause": 0.0} | options
    return fetch(server.address, folder, "set.tar", **options)


DATA = bytes(range(256)) * 400
KEPT = len(DATA) // 2 // CHUNK * CHUNK  # of the half after which a connection drops


@pytest.mark.parametrize("mood", ["good", "drop", "no tag", "no ranges", "no length", "wrong range", "busy once"])
def test_what_comes_is_whole(mood, server, tmp_path):
    server.data, server.mood = DATA, mood
    path = fetched(server, tmp_path)
    assert path.read_bytes() == DATA
    assert [file.name for file in tmp_path.iterdir()] == ["set.tar"]
    if mood == "drop":
        assert server.asked[0] is None
        assert server.asked[1] == f"bytes={KEPT}-"
    if mood in ("no tag", "no length"):  # nobody says that the rest belongs to the beginning
        assert set(server.asked) == {None}


def test_a_file_that_is_there_is_not_fetched_again(server, tmp_path):
    server.data = DATA
    fetched(server, tmp_path)
    fetched(server, tmp_path)
    assert len(server.asked) == 1
    damage(tmp_path / "set.tar", 5)
    assert fetched(server, tmp_path).read_bytes() == DATA


def test_a_file_that_changes_in_between_is_not_mixed(server, tmp_path):
    server.data, server.mood = DATA, "drop and change"
    path = fetched(server, tmp_path, checksum=None)
    assert path.read_bytes() == DATA[::-1]


def test_the_next_call_goes_on(server, tmp_path):
    server.data, server.mood = DATA, "drop"
    server.tag = '"one"'
    monkey = pytest.MonkeyPatch()
    monkey.setattr("moereg.data.fetching.CONNECTIONS", 1)
    with pytest.raises(
        ConnectionError, match=r"must come whole, but after 49152 bytes .* it goes on from .*set.tar.part"
    ):
        fetched(server, tmp_path)
    monkey.undo()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["set.tar.part", "set.tar.part.mark"]
    server.mood = "good"
    assert fetched(server, tmp_path).read_bytes() == DATA
    assert server.asked == [None, f"bytes={KEPT}-"]


@pytest.mark.parametrize(
    ("mood", "kind", "words"),
    [
        ("corrupt", ValueError, r"must have the checksum md5:\w+, but what came has another"),
        ("missing", ValueError, "must be there, but the server answered 404"),
        ("huge", ValueError, "must hold 1000000 bytes at most, the server announces 1000000000000"),
        ("stall", ConnectionError, "after 0 bytes 5 connections brought no more"),
    ],
)
def test_what_is_not_taken(mood, kind, words, server, tmp_path):
    server.data, server.mood = DATA, mood
    with pytest.raises(kind, match=words):
        fetched(server, tmp_path)
    assert not (tmp_path / "set.tar").exists()
    assert mood != "corrupt" or list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_end_is_left(server, tmp_path):
    server.data, server.mood = DATA, "no length"
    with pytest.raises(ValueError, match="must hold 1000 bytes at most, got more"):
        fetched(server, tmp_path, most=1000)


def test_nobody_there(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/x"
    with pytest.raises(ConnectionError, match="must come whole, but after 0 bytes"):
        fetch(address, tmp_path, "x", checksum=None, most=10, pause=0.0)


# ---- archives ----


def tar_of(*entries, mode="w"):
    """`(name, content)` for a file, a TarInfo for anything else."""
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode=mode) as tar:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                tar.addfile(entry)
            else:
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                tar.addfile(info, io.BytesIO(entry[1]))
    return memory.getvalue()


def zip_of(*entries, attributes=0):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = attributes
            info.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(info, content)
    return memory.getvalue()


def special(kind, name="x", to=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def claims(size):
    """A header of a .tar that claims more than the file holds."""
    info = tarfile.TarInfo("a")
    info.size = size
    return info.tobuf() + bytes(512)


def locked():
    data = bytearray(zip_of(("a", b"x")))
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + place] |= 1
    return bytes(data)


ARCHIVES = {
    "absolute": (tar_of(("/etc/x", b"")), "names that stay below one folder, got '/etc/x'"),
    "above": (tar_of(("a/../../x", b"")), "names that stay below one folder"),
    "above, folder": (tar_of(special(tarfile.DIRTYPE, "../x")), "names that stay below one folder"),
    "backslash": (tar_of(("..\\x", b"")), "names that stay below one folder"),
    "drive": (tar_of(("C:x", b"")), "names that stay below one folder"),
    "symbolic link": (tar_of(special(tarfile.SYMTYPE, to="/etc")), "ordinary files only, got 'x'"),
    "hard link": (tar_of(("a", b""), special(tarfile.LNKTYPE, to="a")), "ordinary files only"),
    "pipe": (tar_of(special(tarfile.FIFOTYPE)), "ordinary files only"),
    "device": (tar_of(special(tarfile.CHRTYPE)), "ordinary files only"),
    "twice": (tar_of(("a", b"1"), ("A", b"2")), "every name once, got 'A' twice"),
    "too many": (tar_of(*((f"{n}", b"") for n in range(12))), "10 files at most"),
    "too large": (tar_of(("a", bytes(900)), ("b", bytes(200))), "1000 bytes at most unpacked, 'b' exceeds that"),
    "packed, too large": (tar_of(("a", bytes(10**6)), mode="w:gz"), "1000 bytes at most unpacked"),
    "claims much": (claims(10**15), "1000 bytes at most unpacked"),
    "cut": (tar_of(("a", bytes(900)))[:600], "must be a whole archive"),
    "packed, cut": (tar_of(("a", bytes(range(256)) * 3), mode="w:gz")[:60], "must be a whole archive"),
    "empty": (b"", "must be a whole archive"),
    "text": (b"no archive" * 100, "must be a whole archive"),
    "without files": (tar_of(), "must hold files, got none"),
    "zip, above": (zip_of(("../x", b"")), "names that stay below one folder"),
    "zip, link": (zip_of(("x", b"/etc"), attributes=0o120777 << 16), "ordinary files only"),
    "zip, too large": (zip_of(("x", bytes(10**6))), "1000 bytes at most unpacked"),
    "zip, cut": (zip_of(("x", b"y" * 99))[:-30], "must be a whole archive"),
    "zip, password": (locked(), "without a password"),
}


@pytest.mark.parametrize(("data", "words"), ARCHIVES.values(), ids=ARCHIVES.keys())
def test_an_archive_that_would_do_harm(data, words, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(ValueError, match=words) as refused:
        unpack(tmp_path / "x.tar", tmp_path / "in", most=1000, most_files=10)
    assert str(tmp_path / "x.tar") in str(refused.value)
    assert {path.name for path in tmp_path.iterdir()} == {"in", "x.tar"}  # nothing beside it


def test_a_header_that_asks_for_memory(tmp_path):
    info = tarfile.TarInfo("a")
    info.type, info.size = tarfile.XHDTYPE, 2**33
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(ValueError, match="must be a whole archive, but it cannot be read .a header claims"):
        unpack(tmp_path / "x.tar", tmp_path / "in", most=1000)


@pytest.mark.parametrize("make", [tar_of, lambda *e: tar_of(*e, mode="w:gz"), zip_of], ids=["tar", "tar.gz", "zip"])
def test_a_good_archive(make, tmp_path):
    (tmp_path / "x").write_bytes(make(("a/b.txt", b"one"), ("a/._b.txt", b"mac"), ("c.txt", b"two")))
    assert unpack(tmp_path / "x", tmp_path / "in", most=6) == 2
    found = {_below(path, tmp_path / "in"): path.read_bytes() for path in (tmp_path / "in").rglob("*.txt")}
    assert found == {"a/b.txt": b"one", "c.txt": b"two"}


# ---- all of it ----


@pytest.fixture
def offered(server, master, home, monkeypatch):
    """Cards whose archives this server has, with the checksum where one is listed."""
    archives = {}
    for name in ("hippocampus", "lung-ct", "acdc"):
        card = CARDS[name]
        archives[name] = shutil.make_archive(str(home / name), "tar", master, card.folders[0])
        with open(archives[name], "rb") as file:
            digest = hashlib.md5(file.read()).hexdigest()
        known = {"md5": digest if card.md5 else "", "address": server.address if card.address else ""}
        monkeypatch.setitem(publicsets.CARDS, name, replace(card, **known))
    monkeypatch.setattr("moereg.data.fetching.TRIES", 2)
    monkeypatch.setattr("time.sleep", lambda seconds: None)

    def serve(name):
        with open(archives[name], "rb") as file:
            server.data = file.read()
        return archives[name]

    return serve


def left_over(home):
    """What lies below the folder into which sets go."""
    base = home / "cache" / "moereg"
    return sorted(path.name for path in base.iterdir()) if base.exists() else []


def test_get(offered, server, home, capsys):
    offered("hippocampus")
    server.mood = "drop"
    assert cli.main(["data", "get", "hippocampus"]) == 0
    said = capsys.readouterr().out
    assert "licence: CC-BY-SA 4.0" in said
    assert "20 of 260 subjects, 40 files" in said
    assert left_over(home) == ["hippocampus", "known"]
    assert len(datasets.load("hippocampus", "test")) > 1
    assert cli.main(["data", "get", "hippocampus"]) == 2
    assert "hippocampus is there already" in capsys.readouterr().err
    assert cli.main(["data", "verify", "hippocampus"]) == 0
    assert "as it should be" in capsys.readouterr().out


def test_get_refuses_what_is_damaged(offered, server, home, capsys):
    offered("hippocampus")
    server.mood = "corrupt"
    assert cli.main(["data", "get", "hippocampus"]) == 2
    assert "but what came has another; nothing of it was kept" in capsys.readouterr().err
    assert left_over(home) in ([], [".downloads"])
    assert not list((home / "cache" / "moereg").rglob("*.tar*"))


def test_terms_are_agreed_to_first_and_an_archive_nobody_lists_is_known_again(offered, server, home, capsys):
    offered("lung-ct")
    assert cli.main(["data", "get", "lung-ct"]) == 2
    assert "asks that you agree to the licence on https://zenodo.org" in capsys.readouterr().err
    assert server.asked == []
    assert cli.main(["data", "get", "lung-ct", "--agree"]) == 0
    assert "none is listed; that of the first use" in capsys.readouterr().out
    shutil.rmtree(home / "cache" / "moereg" / "lung-ct")
    assert cli.main(["data", "get", "lung-ct", "--agree"]) == 0
    shutil.rmtree(home / "cache" / "moereg" / "lung-ct")
    offered("acdc")  # another archive at the same address
    assert cli.main(["data", "get", "lung-ct", "--agree"]) == 2
    assert "must have the checksum sha256:" in capsys.readouterr().err


def test_what_a_person_fetched(offered, home, capsys):
    archive = offered("acdc")
    assert cli.main(["data", "get", "acdc"]) == 2
    assert "fetched by a person who has registered: https://humanheart-project" in capsys.readouterr().err
    assert cli.main(["data", "get", "acdc", "--archive", archive, "--to", str(home / "here")]) == 0
    assert (home / "here" / "acdc" / "training").is_dir()
    assert (home / "acdc.tar").exists()  # the person's own file stays
    assert cli.main(["data", "get", "acdc", "--archive", str(home / "none.tar"), "--to", str(home / "there")]) == 2
    assert "--archive must be a file, but there is no" in capsys.readouterr().err


def test_get_leaves_nothing_of_an_archive_with_another_set(offered, home, capsys):
    archive = offered("lung-ct")
    assert cli.main(["data", "get", "acdc", "--archive", archive]) == 2
    assert "but no training/{subject}/{subject}_frame{phase}.nii.gz is in it" in capsys.readouterr().err
    assert left_over(home) == []


def test_get_leaves_nothing_of_a_set_with_a_damaged_file(offered, master, home, capsys):
    shutil.copytree(master / "acdc", home / "copy" / "acdc")
    damage(home / "copy" / "acdc" / "training" / "patient007" / "patient007_frame12_gt.nii.gz", -8)
    archive = shutil.make_archive(str(home / "bad"), "zip", home / "copy")
    assert cli.main(["data", "get", "acdc", "--archive", archive]) == 2
    said = capsys.readouterr().err
    assert "patient007_frame12_gt.nii.gz must be a whole file, but it cannot be unpacked" in said
    assert left_over(home) == []


def test_get_needs_a_free_place_and_room(offered, home, monkeypatch, capsys):
    archive = offered("acdc")
    (home / "here" / "acdc").mkdir(parents=True)
    assert cli.main(["data", "get", "acdc", "--archive", archive, "--to", str(home / "here")]) == 2
    assert "acdc must be free for what is unpacked" in capsys.readouterr().err
    usage = shutil.disk_usage(home)._replace(free=10)
    monkeypatch.setattr("shutil.disk_usage", lambda place: usage)
    assert cli.main(["data", "get", "acdc", "--archive", archive]) == 2
    assert "must have room for" in capsys.readouterr().err
    assert left_over(home) == []
