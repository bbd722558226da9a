"""Engine folders on disk: what is in one, and how it is checked."""

from .file_digest import FileDigest
from .manifest import MANIFEST_NAME, SCHEMA_VERSION, FileEntry, Manifest
from .open_package import engine_identity, open_package
from .plan import Plan
from .quantization import Loss, Quantization, RoleStorage

__all__ = [
    "MANIFEST_NAME",
    "SCHEMA_VERSION",
    "FileDigest",
    "FileEntry",
    "Loss",
    "Manifest",
    "Plan",
    "Quantization",
    "RoleStorage",
    "engine_identity",
    "open_package",
]
