"""Engine folders on disk: what is in one, how it is checked, and how it appears all at once."""

from .atomic_folder import AtomicFolder
from .manifest import MANIFEST_NAME, SCHEMA_VERSION, FileEntry, Manifest
from .open_package import open_package

__all__ = [
    "MANIFEST_NAME",
    "SCHEMA_VERSION",
    "AtomicFolder",
    "FileEntry",
    "Manifest",
    "open_package",
]
