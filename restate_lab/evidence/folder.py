"""The folder of evidence on a local disk or an object store; it is complete or it does not exist.

On a local disk, all files are written to a temporary folder, which is renamed at the end. Object stores cannot rename a
folder, so the manifest is written last. A folder without a manifest is not evidence.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from restate_lab._files import full_disk_error
from restate_lab.client.parquet import locate
from restate_lab.errors import ArgumentError, EvidenceBroken

_PLAIN_NAME = re.compile(r"\w[\w-]*(\.\w+)+")
_LONGEST_NAME = 200
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # in a path: DataFusion opens no file there


@dataclass(frozen=True, slots=True)
class EvidenceFolder:
    """One folder of a file system; ``display_path`` is the path that the user passed."""

    filesystem: fs.FileSystem
    path: str
    display_path: Path | str

    @property
    def is_local(self) -> bool:
        """Return whether the folder is on a local disk, where it can be renamed."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def path_of(self, name: str) -> str:
        """Return the path of a file in the folder.

        Raises:
            EvidenceBroken: the name is not a plain file name, or the file is a link.
        """
        path = f"{self.path.rstrip('/')}/{name}"
        if not _PLAIN_NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
            raise EvidenceBroken(
                f"{self.display_path}: {name[:_LONGEST_NAME]!r} is not a plain file name; only files in this folder "
                f"are read."
            )
        if self.is_local and Path(path).is_symlink():
            raise EvidenceBroken(f"{self.display_path}: {name} is a link; only files in this folder are read.")
        return path

    def size(self, name: str) -> int | None:
        """Return a file's size in bytes; None if the file does not exist."""
        info = self.filesystem.get_file_info(self.path_of(name))
        return info.size if info.type == fs.FileType.File else None

    def read(self, name: str, most: int) -> bytes:
        """Return at most ``most`` bytes of a file."""
        with self.filesystem.open_input_stream(self.path_of(name)) as stream:
            return bytes(stream.read(most))

    def digest(self, name: str) -> str:
        """Return a file's sha256; the file is read in chunks."""
        with self.filesystem.open_input_stream(self.path_of(name)) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""
        with self.filesystem.open_output_stream(self.path_of(name)) as stream:
            stream.write(content)

    @contextmanager
    def create_file(self, name: str) -> Iterator[_HashingFile]:
        """Yield a new writable file that counts and hashes its bytes."""
        with self.filesystem.open_output_stream(self.path_of(name)) as stream:
            yield _HashingFile(stream)


class _HashingFile(io.RawIOBase):
    """A file that is written sequentially, with its size and sha256."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size

    def write(self, block: bytes | memoryview) -> int:  # type: ignore[override]
        self._stream.write(block)
        self._digest.update(block)
        self.size += len(block)
        return len(block)


def locate_folder(path: str | os.PathLike[str], filesystem: fs.FileSystem | None) -> EvidenceFolder:
    """Return the folder of a path: a local path, a URI that ``pyarrow.fs`` supports, or a path on ``filesystem``."""
    location, display_path, name = locate(path, filesystem)
    return EvidenceFolder(location, name.rstrip("/"), display_path)


@contextmanager
def new_folder(target: EvidenceFolder) -> Iterator[EvidenceFolder]:
    """Yield a folder to write to; it becomes ``target`` if the block succeeds, and is deleted if the block fails.

    Raises:
        ArgumentError: the path already exists, or its parent folder does not exist.
        WriteFailed: the disk is full.
    """
    check_free(target)
    unfinished = f"{target.path}.{uuid.uuid4().hex[:8]}.unfinished"
    folder = replace(target, path=unfinished) if target.is_local else target
    try:
        with full_disk_error(target.display_path):
            folder.filesystem.create_dir(folder.path, recursive=not target.is_local)
            yield folder
            if target.is_local:
                check_free(target)
                Path(folder.path).rename(target.path)
    except BaseException:
        if folder.filesystem.get_file_info(folder.path).type == fs.FileType.Directory:
            folder.filesystem.delete_dir(folder.path)
        raise


def check_free(target: EvidenceFolder) -> None:
    """Check that a folder can be created at this path.

    Raises:
        ArgumentError: the path already exists, its parent folder does not exist, or it has control characters.
    """
    if _UNREADABLE.search(target.path):
        raise ArgumentError(
            f"the path {target.path!r} has a control character or half a character, so the evidence could not be "
            f"opened. Pass another path."
        )
    if target.filesystem.get_file_info(target.path).type != fs.FileType.NotFound or (
        target.is_local and Path(target.path).is_symlink()
    ):
        raise ArgumentError(f"{target.display_path} already exists, and evidence never overwrites. Pass another path.")
    if target.is_local and not Path(target.path).parent.is_dir():
        raise ArgumentError(f"{Path(target.path).parent} is not a folder, so {target.display_path} cannot be created.")
