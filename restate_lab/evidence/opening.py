"""Check a folder of evidence before anything of it is used: the manifest, and each file against it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from restate_lab.errors import ArgumentError, EvidenceBroken
from restate_lab.evidence.manifest import MOST_BYTES, NAME, File, Manifest, type_name
from restate_lab.evidence.place import Folder

__all__ = ["check_files", "check_there", "read_manifest"]

_TABLE = re.compile(r"[A-Za-z_]\w*")


def read_manifest(folder: Folder) -> tuple[Manifest, str]:
    """Return the manifest of a folder, and its sha256.

    Raises:
        ArgumentError: there is no such folder.
        EvidenceBroken: it has no manifest, or one that cannot be read or is at odds with itself.
    """
    if folder.filesystem.get_file_info(folder.path).type != fs.FileType.Directory:
        raise ArgumentError(f"there is no folder {folder.shown}; give the path that freeze() returned.")
    size = folder.size(NAME)
    if size is None:
        raise EvidenceBroken(
            f"{folder.shown} has no {NAME}: it is no evidence, or freezing it did not come to its end. Freeze it again."
        )
    if size > MOST_BYTES:
        raise EvidenceBroken(f"{folder.shown}: {NAME} has {size:,} bytes, more than any that was written.")
    content = folder.read(NAME, MOST_BYTES)
    manifest = Manifest.from_json(content, where=str(folder.shown))
    names = [each.table for each in manifest.files] + [view.name for view in manifest.views]
    odd = [name for name, n in Counter(names).items() if n > 1 or not _TABLE.fullmatch(name)]
    if odd:
        raise EvidenceBroken(f"{folder.shown}: {NAME} has {odd[0]!r} twice, or as a name that no table has.")
    for each in manifest.files:
        folder.at(each.file)
    return manifest, hashlib.sha256(content).hexdigest()


def check_files(folder: Folder, manifest: Manifest, *, digests: bool) -> None:
    """Compare each file with the manifest: size, rows and schema, and where ``digests`` is true its sha256.

    Raises:
        EvidenceBroken: one is missing or differs; the message names it.
    """
    check_there(folder, manifest)
    for each in manifest.files:
        if digests and folder.digest(each.file) != each.sha256:
            raise _changed(folder, each, "its sha256 is another than when it was written")
        _check_inside(folder, each)


def check_there(folder: Folder, manifest: Manifest) -> None:
    """Compare each file's size with the manifest: the engine takes a file that is gone for an empty table.

    Raises:
        EvidenceBroken: one is missing, or has another size.
    """
    for each in manifest.files:
        size = folder.size(each.file)
        if size is None:
            raise EvidenceBroken(f"{folder.shown}: {each.file} is missing. Get the evidence again, as a whole.")
        if size != each.size:
            raise _changed(folder, each, f"it has {size:,} bytes, and {each.size:,} were written")


def _check_inside(folder: Folder, file: File) -> None:
    try:
        with folder.filesystem.open_input_file(folder.at(file.file)) as stream:
            inside = pq.ParquetFile(stream)
            rows, schema = inside.metadata.num_rows, inside.schema_arrow
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _changed(folder, file, f"it is no Parquet file that can be read: {error}") from error
    if rows != file.rows:
        raise _changed(folder, file, f"it has {rows:,} rows, and the manifest says {file.rows:,}")
    if [(field.name, type_name(field.type)) for field in schema] != [(each.name, each.arrow) for each in file.columns]:
        raise _changed(folder, file, "its columns are others than the manifest says")


def _changed(folder: Folder, file: File, how: str) -> EvidenceBroken:
    return EvidenceBroken(f"{folder.shown}: {file.file} is not what was frozen: {how}. Get the evidence again.")
