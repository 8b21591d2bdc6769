"""Files in, files out: register two scans, and use the fields afterwards."""

from moereg.apply.fieldfiles import apply_file, compose_files, invert_file
from moereg.apply.many import RegisteredTable, register_table
from moereg.apply.registering import Registered, register_files
from moereg.apply.verdict import Findings, verdict

__all__ = [
    "Findings",
    "Registered",
    "RegisteredTable",
    "apply_file",
    "compose_files",
    "invert_file",
    "register_files",
    "register_table",
    "verdict",
]
