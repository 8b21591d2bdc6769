"""Headers that nobody wrote by accident: drawn by hypothesis, always the same ones, and files that claim too much.

`MOEREG_MUTANTS` says how many headers of each kind are drawn: a few by default, 2000 for a thorough look.
"""

import gzip
import json
import os
import struct
import subprocess
import sys
import time
import zlib

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from moereg.data import load_displacement, load_grid, load_labels, load_volume, save_displacement, save_volume
from moereg.data.headers import DENSE, LARGE
from moereg.models import build, load_model
from tests.hostile import BYTES, SECONDS

pytestmark = pytest.mark.plain_errors
COUNT = int(os.environ.get("MOEREG_MUTANTS", "40"))
PROFILE = settings(
    max_examples=COUNT,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def survives(load, path) -> None:
    """Read, or refused in one line that names the file; never another error, and soon."""
    began = time.process_time()
    try:
        load(path)
    except (ValueError, FileNotFoundError) as refused:
        assert str(path) in str(refused)  # noqa: PT017
        assert "\n" not in str(refused)  # noqa: PT017
    assert time.process_time() - began < SECONDS


# ---- NIfTI ----

SHORTS = st.sampled_from((-32768, -1, 0, 1, 2, 3, 4, 5, 8, 128, 32767)) | st.integers(-(2**15), 2**15 - 1)
FLOATS = st.sampled_from((0.0, -0.0, 1.0, -1.0, 1e-30, 1e20, -1e20, float("nan"), float("inf"))) | st.floats(width=32)
CODES = st.sampled_from((0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1536, 1792, 2048, 2304)) | SHORTS
# name -> (place in the header, format of one entry, how many)
FIELDS = {
    "dim": (40, "h", 8, SHORTS),
    "intent": (68, "h", 1, CODES),
    "datatype": (70, "h", 1, CODES),
    "bitpix": (72, "h", 1, SHORTS),
    "pixdim": (76, "f", 8, FLOATS),
    "vox_offset": (108, "f", 1, FLOATS | st.sampled_from((0.0, 348.0, 352.0, 353.0, 1e9))),
    "scale": (112, "f", 2, FLOATS),
    "units": (123, "B", 1, st.integers(0, 255)),
    "codes": (252, "h", 2, SHORTS),
    "quaternion": (256, "f", 6, FLOATS),
    "rows": (280, "f", 12, FLOATS),
    "magic": (344, "B", 4, st.integers(0, 255)),
    "length": (0, "i", 1, st.sampled_from((0, 347, 348, 540, -1, 2**31 - 1))),
}


@st.composite
def changes(draw):
    """Fields of a header, some of their entries changed: (place, format, value) each."""
    found = []
    for name in draw(st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=4, unique=True)):
        place, form, count, values = FIELDS[name]
        for entry in draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=3)):
            found.append((place + entry * struct.calcsize(form), form, draw(values)))
    return found


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Bytes of an image, and of a displacement, by loader; and a folder."""
    folder = tmp_path_factory.mktemp("headers")
    save_volume(folder / "a.nii", torch.rand(6, 5, 4), np.eye(4))
    save_displacement(folder / "f.nii", torch.zeros(3, 6, 5, 4), np.eye(4))
    image, field = ((folder / name).read_bytes() for name in ("a.nii", "f.nii"))
    return folder, {load_volume: image, load_labels: image, load_grid: image, load_displacement: field}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@PROFILE
@given(
    changed=changes(),
    load=st.sampled_from((load_volume, load_labels, load_grid, load_displacement)),
    packed=st.booleans(),
    big=st.booleans(),
)
def test_any_header_of_an_image_is_read_or_refused(changed, load, packed, big, good):
    folder, contents = good
    data = bytearray(contents[load])
    for place, form, value in changed:
        struct.pack_into((">" if big else "<") + form, data, place, value)
    path = folder / ("x.nii.gz" if packed else "x.nii")
    path.write_bytes(gzip.compress(bytes(data), 1) if packed else bytes(data))
    survives(load, path)


# ---- files that claim more than they hold, or hold more than they seem to ----


def bomb(path, shape, dtype, *, blocks):
    """A .nii.gz of a few hundred kB: a header for `shape`, then `blocks` times the same MiB of zeros."""
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    header["magic"], header["vox_offset"] = b"n+1", 352
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = packer.compress(header.binaryblock + bytes(4)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    with path.open("wb") as file:
        file.write(b"\x1f\x8b\x08" + bytes(5) + b"\x00\x03" + start)
        for _ in range(blocks):
            file.write(block)
    return path


def plain(path, shape, dtype):
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    header["magic"], header["vox_offset"] = b"n+1", 352
    path.write_bytes(header.binaryblock + bytes(1000))
    return path


HOSTILE = {
    "claims 2.9 GB": lambda path: plain(path, (900, 900, 900), np.float32),
    "claims 10^13 voxels": lambda path: plain(path, (30000, 30000, 30000), np.uint8),
    "packed, claims 2.9 GB": lambda path: bomb(path, (900, 900, 900), np.float32, blocks=2800),
    "packed, holds 2.9 GB": lambda path: bomb(path, (900, 900, 900), np.float32, blocks=3000),
    "packed, claims little": lambda path: bomb(path, (4, 5, 6), np.float32, blocks=3000),
    "packed, just below the limit": lambda path: bomb(path, (320, 320, 320), np.uint8, blocks=31),
}


def claim(path, sizes, model="shmoareg"):
    """Weights of one number whose header asks for a network of these sizes."""
    save_file({"a": torch.zeros(1)}, path, metadata={"model": model, "sizes": json.dumps(sizes)})
    return path


def raw(path, claimed, text):
    """The first bytes of a safetensors file: a length, and what should be so long."""
    path.write_bytes(claimed.to_bytes(8, "little") + text)
    return path


def written(path, data):
    path.write_bytes(data)
    return path


WIDE = {"widths": [4096] * 3, "decoder_widths": [4096] * 3}
FAR = {"a": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}
FLAT = (30000, 30000, 1, 1, 2)
# what is hostile -> (loaders, how to make it)
HARMFUL = {
    **{name: (("image", "labels", "field", "grid", "any field", "any image"), make) for name, make in HOSTILE.items()},
    "a 2-D field of 7 GB": (("any field",), lambda path: plain(path, FLAT, np.float32)),
    "packed, a 2-D field of 7 GB": (("any field",), lambda path: bomb(path, FLAT, np.float32, blocks=2)),
    "a network of 10^10 numbers": (("weights",), lambda path: claim(path, WIDE)),
    "a kernel of 4095^3": (("weights",), lambda path: claim(path, {"kernel_sizes": [1, 4095]})),
    "sizes as deep as a header is long": (("weights",), lambda path: claim(path, json.loads("[" * 900 + "]" * 900))),
    "a header of 2^40 bytes": (("weights",), lambda path: raw(path, 2**40, b"{}")),
    "a tensor of 4 TB": (("weights",), lambda path: raw(path, len(json.dumps(FAR)), json.dumps(FAR).encode())),
    "a header of brackets": (("weights",), lambda path: raw(path, 10**7, b"[" * 10**7)),
    "a table of one entry": (("table",), lambda path: written(path, b"moving,fixed\n" + b"a" * 10**7 + b",b")),
    "a table of commas": (("table",), lambda path: written(path, b"moving,fixed\n" + b"," * 10**7)),
    "a table of nothing": (("table",), lambda path: written(path, b"\n" * 10**7)),
    "a run of brackets": (("run",), lambda path: written(path, b"a = " + b"[" * 10**5)),
}  # fmt: skip
ENDS = {"weights": ".safetensors", "table": ".csv", "run": ".toml"}
CASES = [(name, loader) for name, (loaders, _) in HARMFUL.items() for loader in loaders]


@pytest.fixture(scope="module")
def suffered(tmp_path_factory):
    """(name, loader) -> what came of it, in one process that may not take a gigabyte more than it begins with."""
    folder, paths = tmp_path_factory.mktemp("hostile"), {}
    for number, (name, (loaders, make)) in enumerate(HARMFUL.items()):
        ending = ENDS.get(loaders[0], ".nii.gz" if name.startswith("packed") else ".nii")
        paths[name] = str(make(folder / f"x{number}{ending}"))
    (folder / "cases.json").write_text(json.dumps([(loader, paths[name]) for name, loader in CASES]))
    command = [sys.executable, "-m", "tests.hostile", str(folder / "cases.json")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(CASES), f"it died in case {len(lines)}: {done.stderr[-300:]}"
    return {case: line | {"path": paths[case[0]]} for case, line in zip(CASES, lines, strict=True)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}, {case[1]}")
def test_a_hostile_file_costs_little(case, suffered):
    """Refused in one line that names the file, for less than a gigabyte and five seconds; or read, where it may be."""
    found = suffered[case]
    assert found["seconds"] < SECONDS
    if case[0] in ("packed, just below the limit", "packed, claims little") and found["kind"] is None:
        return  # a scan of zeros that packs so well is not impossible
    assert found["kind"] in ("ValueError", "FileNotFoundError"), found
    assert found["path"] in found["said"]
    assert "\n" not in found["said"]


def test_the_bound_on_memory_is_felt():
    """The child that reads them is stopped by the system where something does ask for a gigabyte."""
    use = "print(len(bytearray(BYTES // 2))); bytearray(2 * BYTES)"
    code = f"from tests.hostile import BYTES, bound_memory; bound_memory(); {use}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == f"{BYTES // 2}\n"
    assert "MemoryError" in done.stderr


def test_a_large_scan_that_packs_as_scans_do_is_believed(tmp_path):
    """The limit is on what no scan does; below it, voxels are what counts."""
    path = bomb(tmp_path / "x.nii.gz", (400, 400, 400), np.uint8, blocks=62)
    assert LARGE < 400**3
    with pytest.raises(ValueError, match=r"its header claims \(400, 400, 400\) voxels, 64000352 bytes, and the file"):
        load_grid(path)
    with path.open("ab") as file:
        file.write(bytes(400**3 // DENSE))
    assert load_grid(path).shape == (400, 400, 400)


# ---- weights ----

NUMBERS = st.integers(-2, 9) | st.sampled_from((4096, 4097, 2**31, 2**63, -(2**63), 10**30))
LEAVES = st.none() | st.booleans() | NUMBERS | st.floats() | st.text(max_size=5)
KEYS = st.text(max_size=3)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
SMALL = {"dims": 2, "widths": (4, 4), "decoder_widths": (4, 4), "moa_levels": (1,), "heads": 2, "head_dim": 4}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Tensors and sizes of a small network; and a folder."""
    model = build("shmoareg", **SMALL)
    sizes = json.loads(json.dumps(vars(model.sizes)))
    return tmp_path_factory.mktemp("weights"), model.state_dict(), sizes


@PROFILE
@given(data=st.data())
def test_any_sizes_of_weights_are_read_or_refused(data, network):
    folder, tensors, sizes = network
    changed = data.draw(st.dictionaries(st.sampled_from([*sizes, "other"]), VALUES, min_size=1, max_size=3))
    model = data.draw(st.sampled_from(("shmoareg", "rman", "segreg", "drivenmorph", "voxelmorph", "vit", "")))
    header = {"model": model, "sizes": json.dumps(sizes | changed)}
    save_file(tensors, folder / "x.safetensors", metadata=header)
    survives(load_model, folder / "x.safetensors")


TENSOR = st.fixed_dictionaries({
    "dtype": st.sampled_from(("F32", "F64", "I64", "BOOL", "F8_E4M3", "X")),
    "shape": st.lists(NUMBERS, max_size=4),
    "data_offsets": st.lists(NUMBERS, max_size=3),
})  # fmt: skip


@PROFILE
@given(
    tensors=st.dictionaries(st.text(max_size=4), TENSOR | VALUES, max_size=4),
    metadata=st.none() | VALUES | st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=3),
    length=st.none() | NUMBERS,
    rest=st.binary(max_size=64),
)
def test_any_header_of_a_safetensors_file_is_read_or_refused(tensors, metadata, length, rest, network):
    folder, *_ = network
    text = json.dumps(tensors | ({} if metadata is None else {"__metadata__": metadata})).encode()
    claimed = len(text) if length is None else length % 2**64
    (folder / "y.safetensors").write_bytes(claimed.to_bytes(8, "little") + text + rest)
    survives(load_model, folder / "y.safetensors")


def test_the_headers_are_the_same_every_time():
    assert PROFILE.derandomize
    assert PROFILE.database is None
    assert save({"a": torch.zeros(1)})  # the format that is attacked is the one that is written
