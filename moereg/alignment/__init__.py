"""Linear alignment of two scans: what is found (`linear`), in which coordinates (`frame`), and how (`search`)."""

from moereg.alignment.frame import Frame, common_frame
from moereg.alignment.linear import Alignment, align, foreground, same_grid

__all__ = ["Alignment", "Frame", "align", "common_frame", "foreground", "same_grid"]
