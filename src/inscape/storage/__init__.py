"""Files that are whole or absent: atomic writes, manifests, checksums, locks, arrays."""

from inscape.storage.atomic import (
    atomic_file,
    atomic_folder,
    atomic_write,
    clean_temporary,
    disk_errors,
    is_temporary,
    read_json,
    reading,
    refuse_file,
    refuse_filled,
    remove,
    temporary_name,
    write_json,
)
from inscape.storage.cache import cache_folder, remembered
from inscape.storage.lock import is_lock, lock
from inscape.storage.manifest import (
    MANIFEST,
    artefact,
    check_version,
    file_hash,
    read_manifest,
    write_manifest,
)
from inscape.storage.result import Pictured, Result, draws, plain
from inscape.storage.tensors import read_tensors, tensor_metadata, write_tensors

__all__ = [
    "MANIFEST",
    "Pictured",
    "Result",
    "artefact",
    "atomic_file",
    "atomic_folder",
    "atomic_write",
    "cache_folder",
    "check_version",
    "clean_temporary",
    "disk_errors",
    "draws",
    "file_hash",
    "is_lock",
    "is_temporary",
    "lock",
    "plain",
    "read_json",
    "read_manifest",
    "read_tensors",
    "reading",
    "refuse_file",
    "refuse_filled",
    "remembered",
    "remove",
    "temporary_name",
    "tensor_metadata",
    "write_json",
    "write_manifest",
    "write_tensors",
]
