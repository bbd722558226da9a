"""Engine folders on disk: what is in one, and how it is checked."""

from .manifest import MANIFEST_NAME, SCHEMA_VERSION, FileEntry, Manifest
from .open_package import engine_identity, open_package

__all__ = [
    "MANIFEST_NAME",
    "SCHEMA_VERSION",
    "FileEntry",
    "Manifest",
    "engine_identity",
    "open_package",
]
