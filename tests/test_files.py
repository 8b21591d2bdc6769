"""A file is whole or absent, whatever happens while it is written."""

import ast
import os
import stat
import threading
from pathlib import Path

import pytest

from moereg import files
from moereg.files import check_folder, check_target, reserved, together, whole, write_text_whole


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def write_half_and_raise(path, error) -> None:
    with whole(path) as unfinished:
        unfinished.write_text("half of the n")
        raise error("now")


def test_text_is_written_as_utf8_and_the_path_comes_back(tmp_path):
    path = write_text_whole(str(tmp_path / "deep" / "er" / "report.html"), "3³ → −1\n")
    assert path == tmp_path / "deep" / "er" / "report.html"
    assert path.read_bytes() == b"3\xc2\xb3 \xe2\x86\x92 \xe2\x88\x921\n"
    assert names(path.parent) == ["report.html"]


def test_a_writer_sees_the_final_name_beside_the_target(tmp_path):
    with whole(tmp_path / "field.nii.gz") as unfinished:
        assert unfinished.name == "field.nii.gz"
        assert unfinished.parent.parent == tmp_path
        unfinished.write_bytes(b"new")
        assert not (tmp_path / "field.nii.gz").exists()
    assert (tmp_path / "field.nii.gz").read_bytes() == b"new"
    assert names(tmp_path) == ["field.nii.gz"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_interruption_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = write_text_whole(tmp_path / "weights", "old")
    with pytest.raises(error):
        write_half_and_raise(path, error)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["weights"]


def test_a_rename_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_text_whole(tmp_path / "weights", "old")

    def refuse(*_):
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        write_text_whole(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["weights"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    path = write_text_whole(tmp_path / "weights", "old")
    with pytest.raises(FileNotFoundError, match="weights was to be written, but nothing was written to"), whole(path):
        pass
    assert path.read_text() == "old"
    assert names(tmp_path) == ["weights"]


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_others_may_read_and_not_write(tmp_path, umask):
    before = os.umask(umask)
    try:
        path = write_text_whole(tmp_path / "open", "x")
        with whole(tmp_path / "closed") as unfinished:  # as safetensors leaves its files
            unfinished.write_text("y")
            unfinished.chmod(0o600)
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("open", "closed")] == [0o644, 0o644]
    assert path.read_text() == "x"


def test_two_writers_at_once_do_not_meet(tmp_path):
    """Both are in the middle of writing at the same time; each file is whole, the last to finish stays."""
    path, both = tmp_path / "checkpoint", threading.Barrier(2, timeout=20)
    seen, first_done = [], threading.Event()

    def write(text: str, last: bool) -> None:
        with whole(path) as unfinished:
            unfinished.write_text(text)
            both.wait()
            seen.append(unfinished.read_text() == text)
            if last:
                first_done.wait(20)
        first_done.set()

    writers = [threading.Thread(target=write, args=(text * 9, text == "b")) for text in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert seen == [True, True]
    assert path.read_text() == "b" * 9
    assert names(tmp_path) == ["checkpoint"]


def test_a_killed_process_leaves_the_old_file(tmp_path):
    path = write_text_whole(tmp_path / "weights", "old")
    child = os.fork()
    if child == 0:
        with whole(path) as unfinished:
            unfinished.write_text("half")
            os._exit(9)  # no finally runs, as when a process is killed
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".unfinished-")] == ["weights"]


def test_what_comes_with_the_repository_is_found_from_anywhere(tmp_path, monkeypatch):
    """Beside the library first, then in the working folder, then above it."""
    for root in ("checkout", "clone"):
        (tmp_path / root / "data").mkdir(parents=True)
    (tmp_path / "clone" / "deep").mkdir()
    monkeypatch.setattr(files, "__file__", str(tmp_path / "checkout" / "moereg" / "files.py"))
    monkeypatch.chdir(tmp_path / "clone" / "deep")
    assert files.checkout_folder("data") == tmp_path / "checkout" / "data"
    (tmp_path / "checkout" / "data").rmdir()
    assert files.checkout_folder("data") == tmp_path / "clone" / "data"
    assert files.checkout_folder("data/weights") is None


# ---- nothing of the user's is overwritten, and what cannot work is said before the work ----


def test_a_link_stays_a_link_and_the_file_that_it_names_is_written(tmp_path):
    (tmp_path / "run3").mkdir()
    (tmp_path / "run3" / "numbers.json").write_text("old")
    (tmp_path / "latest.json").symlink_to(tmp_path / "run3" / "numbers.json")
    write_text_whole(tmp_path / "latest.json", "new")
    assert (tmp_path / "latest.json").is_symlink()
    assert (tmp_path / "run3" / "numbers.json").read_text() == "new"


@pytest.mark.parametrize(("kind", "make"), [("a pipe", os.mkfifo), ("a folder", os.mkdir)])
def test_what_is_no_file_is_not_replaced(tmp_path, kind, make):
    make(tmp_path / "out")
    for write in (lambda: write_text_whole(tmp_path / "out", "x"), lambda: check_target(tmp_path / "out")):
        with pytest.raises(ValueError, match=f"out must be a file that can be replaced, got {kind}."):
            write()
    assert names(tmp_path) == ["out"]
    with pytest.raises(ValueError, match="/dev/null must be a file that can be replaced, got a device."):
        check_target("/dev/null")


def test_a_target_must_not_be_an_input(tmp_path):
    """By whatever name: a link to it, or a second name for it."""
    table = write_text_whole(tmp_path / "pairs.csv", "moving,fixed")
    (tmp_path / "soft.json").symlink_to(table)
    os.link(table, tmp_path / "hard.json")
    for name in ("pairs.csv", "soft.json", "hard.json"):
        with pytest.raises(ValueError, match=f"{name} must not be an input, which would be overwritten"):
            check_target(tmp_path / name, [tmp_path / "other.csv", table])
    check_target(tmp_path / "new" / "numbers.json", [table])
    assert names(tmp_path) == ["hard.json", "pairs.csv", "soft.json"]  # nothing was made


def test_a_folder_that_cannot_be_made_is_found_before_the_work(tmp_path, monkeypatch):
    file = write_text_whole(tmp_path / "taken", "x")
    with pytest.raises(NotADirectoryError, match=r"taken/deep must be a folder, but .*taken is none\."):
        check_folder(file / "deep")
    with pytest.raises(NotADirectoryError, match=r"taken must be a folder, but .*taken is none\."):
        check_folder(file)
    check_folder(tmp_path / "new" / "er")
    monkeypatch.setattr(files.os, "access", lambda place, mode: place != tmp_path)  # root may write anywhere
    with pytest.raises(PermissionError, match=r"new/er must be a folder that can be written to, but .* cannot\."):
        check_folder(tmp_path / "new" / "er")
    assert names(tmp_path) == ["taken"]


def test_a_reserved_folder_is_refused_to_a_second_until_the_first_ends(tmp_path):
    out = tmp_path / "new"
    with reserved(out), pytest.raises(ValueError, match="new must be free, but another training"), reserved(out):
        pass
    with reserved(out):
        pass
    assert names(tmp_path) == ["new"]


def test_every_text_file_is_opened_with_its_encoding():
    """Without one, the locale decides: in plain ASCII the library would not read its own texts."""
    found = []
    for path in Path(files.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""
            if name in ("read_text", "write_text", "open", "TextIOWrapper"):
                constants = [part.value for a in node.args for part in ast.walk(a) if isinstance(part, ast.Constant)]
                binary = any("b" in str(value) for value in constants)
                owner = getattr(getattr(node.func, "value", None), "id", "")
                other = owner in ("os", "gzip", "tarfile", "file", "Image")
                if not binary and not other and "encoding" not in {keyword.arg for keyword in node.keywords}:
                    found.append(f"{path.name}:{node.lineno}")
    assert found == []


def test_files_that_belong_together_are_there_all_or_none(tmp_path):
    """A link stays a link; folders that were made go again where nothing comes into them."""
    paths = [tmp_path / "new" / "deep" / name for name in ("a.txt", "b.txt")]
    for ready, words in ((1, "was to be written, but nothing was"), (2, "stop")):

        def write(ready=ready):
            with together(paths) as unfinished:
                for path in unfinished[:ready]:
                    path.write_text("new")
                if ready == 2:
                    raise OSError("stop")

        with pytest.raises(OSError, match=words):
            write()
        assert names(tmp_path) == []
    (tmp_path / "kept").mkdir()
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "kept" / "a.txt").symlink_to(tmp_path / "real.txt")
    targets = [tmp_path / "kept" / name for name in ("a.txt", "b.txt")]
    with together(targets) as unfinished:
        assert [path.name for path in unfinished] == ["a.txt", "b.txt"]
        for path in unfinished:
            path.write_text("new")
        assert (tmp_path / "real.txt").read_text() == "old"
    assert names(tmp_path / "kept") == ["a.txt", "b.txt"]
    assert targets[0].is_symlink()
    assert (tmp_path / "real.txt").read_text() == (tmp_path / "kept" / "b.txt").read_text() == "new"
    (tmp_path / "kept" / "c").mkdir()
    with pytest.raises(ValueError, match="can be replaced, got a folder"), together([tmp_path / "kept" / "c"]):
        pass
