"""ANTs' SyN in a Python of its own: `python ants_syn.py GIVEN.npz FOUND.npy`. Needs antspyx and numpy alone.

GIVEN holds `moving` and `fixed`, arrays `(*S)`; FOUND gets the displacement `(D, *S)` in voxels that pulls, channel d
along axis d, as everywhere in this library. ANTs orders axes as the array does (from_numpy keeps them), so nothing is
flipped.
"""

import sys
from pathlib import Path


def main(given: str, found: str) -> None:
    import ants
    import numpy as np

    arrays = np.load(given)
    fixed, moving = (ants.from_numpy(arrays[name].astype("float32")) for name in ("fixed", "moving"))
    result = ants.registration(fixed, moving, type_of_transform="SyNOnly", initial_transform="identity", random_seed=0)
    (warp,) = (path for path in result["fwdtransforms"] if "Warp" in Path(path).name)
    np.save(found, np.moveaxis(ants.image_read(warp).numpy(), -1, 0))


if __name__ == "__main__":
    main(*sys.argv[1:])
