"""Classical Demons: registration of one pair by iteration, without learning. 2-D and 3-D, CPU and GPU.

Each iteration looks at the intensity difference that is left, turns it into a small displacement at every voxel
(the Demons force), brings that into the field, and smooths:

    d = F - M o s                                difference; M o s is the moving image warped by s
    u = d J / (|J|^2 + d^2 / (4 L^2 h^2))        force in mm, h^2 the mean squared spacing; |u| <= L h

| variant         | J                           | new field                           | source                      |
|-----------------|-----------------------------|-------------------------------------|-----------------------------|
| "thirion"       | grad F                      | s + u                               | Thirion 1998                |
| "symmetric"     | (grad F + grad (M o s)) / 2 | s + u                               | Wang 2005, Vercauteren 2007 |
| "diffeomorphic" | the same                    | s o exp(u)                          | Vercauteren 2009            |
| "log"           | the same                    | exp(v), with v <- v + u + [v, u]/2  | Vercauteren 2008            |

The force is one regularised Gauss-Newton step on `|F - M o s|^2` per voxel; the mean of both gradients makes it a
second-order step (ESM). Sums of updates can fold; of composed small flows only the discretisation can. Smoothing the
updates is fluid-like, smoothing the field (or the velocity v) is elastic-like.

One iteration without smoothing equals SimpleITK's Demons, FastSymmetricForcesDemons and DiffeomorphicDemons filters,
and with `max_step=1` its SymmetricForcesDemons away from the border. SimpleITK has no levels and no log-domain filter.
Its Demons and SymmetricForcesDemons filters smooth the field *before* each iteration, so that what they return is rough
from the last update; `smooth_before` does the same. The default smooths last, as SimpleITK's other two filters do.
"""

from moereg.classical.greedy import greedy_correlation
from moereg.classical.methods import METHODS, identity
from moereg.classical.registration import DemonsResult, demons
from moereg.classical.step import VARIANTS, demons_force, lie_bracket

__all__ = [
    "METHODS",
    "VARIANTS",
    "DemonsResult",
    "demons",
    "demons_force",
    "greedy_correlation",
    "identity",
    "lie_bracket",
]
