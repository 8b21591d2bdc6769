"""moereg: deformable image registration with mixture-of-experts, built to be read."""

__version__ = "0.1.0"
