"""Check a folder of evidence before it is used: the manifest, and each file against the manifest.

A value that is stored once in a column's dictionary can occur in thousands of decoded rows. The number of rows that are
decoded at a time is limited, so that they fit in a fixed number of bytes and ``max_bytes`` can stop the result.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from restate_lab.errors import ArgumentError, EvidenceBroken
from restate_lab.evidence.folder import EvidenceFolder
from restate_lab.evidence.manifest import MOST_BYTES, NAME, Manifest, TableFile, type_name

MAX_BATCH_ROWS = 8192
_MAX_BATCH_BYTES = 256 << 20
_MAX_VALUE_BYTES = 1 << 30  # of one row's value in one column
_NUMBER_BYTES = 8  # bytes of a number, of which a list can have many
_MAX_COLUMNS = 1_000
_ENCODINGS = frozenset({"PLAIN", "RLE", "BIT_PACKED", "RLE_DICTIONARY", "PLAIN_DICTIONARY"})
_TABLE_NAME = re.compile(r"[A-Za-z_]\w*")


def _safe_batch_rows(file: pq.ParquetFile) -> int:
    """Return how many rows can safely be decoded at a time; at most 8,192.

    ``file`` must be opened with ``read_dictionary=`` set to the paths of its columns with text or bytes.

    Raises:
        pa.ArrowInvalid: a value is larger than 1 GB.
    """
    largest = 1
    for at, chunks in enumerate(_chunks(file)):
        rows = file.metadata.row_group(at).num_rows
        if not rows:
            continue
        values_per_row = max((-(-chunk.num_values // rows) for chunk in chunks), default=1)
        average = max((chunk.total_uncompressed_size // rows for chunk in chunks), default=0)
        largest = max(largest, average, _NUMBER_BYTES * values_per_row)
        if largest < _MAX_BATCH_BYTES:
            # Reading one row decodes the whole dictionary and no other rows.
            first = next(file.iter_batches(batch_size=1, row_groups=[at]), None)
            if first is None:
                raise pa.ArrowInvalid(f"row group {at} should have {rows:,} rows, but no row can be read")
            largest = max([largest, *(values_per_row * _longest(each) for each in first.columns)])
        if largest > _MAX_VALUE_BYTES:
            raise pa.ArrowInvalid(f"a value has {largest:,} bytes, but at most {_MAX_VALUE_BYTES:,} are allowed")
    return max(1, min(MAX_BATCH_ROWS, _MAX_BATCH_BYTES // largest))


def _chunks(file: pq.ParquetFile) -> Iterator[list[Any]]:
    for at in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(at)
        yield [group.column(each) for each in range(group.num_columns)]


def _longest(values: Any) -> int:
    """Return the length of the longest text in the dictionaries of a column, including nested columns."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        lengths: Any = pc.binary_length(values.dictionary)
        return int(pc.max(lengths).as_py() or 0)
    if pa.types.is_struct(kind):
        return max((_longest(values.field(at)) for at in range(kind.num_fields)), default=0)
    return _longest(values.values) if hasattr(values, "values") else 0


def read_manifest(folder: EvidenceFolder) -> tuple[Manifest, str]:
    """Return the manifest of a folder, and its sha256.

    Raises:
        ArgumentError: the folder does not exist.
        EvidenceBroken: the folder has no manifest, or the manifest is unreadable or inconsistent.
    """
    if folder.filesystem.get_file_info(folder.path).type != fs.FileType.Directory:
        raise ArgumentError(f"the folder {folder.display_path} does not exist; pass the path that freeze() returned.")
    size = folder.size(NAME)
    if size is None:
        raise EvidenceBroken(
            f"{folder.display_path} has no {NAME}: it is not evidence, or the freeze did not finish. Freeze the "
            f"cluster again."
        )
    if size > MOST_BYTES:
        raise EvidenceBroken(
            f"{folder.display_path}: {NAME} has {size:,} bytes, but at most {MOST_BYTES:,} are allowed."
        )
    content = folder.read(NAME, MOST_BYTES)
    manifest = Manifest.from_json(content, where=str(folder.display_path))
    names = [each.table for each in manifest.files] + [view.name for view in manifest.views]
    odd = [name for name, n in Counter(names).items() if n > 1 or not _TABLE_NAME.fullmatch(name)]
    if odd:
        raise EvidenceBroken(f"{folder.display_path}: {NAME} has the table name {odd[0]!r} twice, or it is invalid.")
    files = [each.file for each in manifest.files]
    if shared := [name for name, n in Counter(files).items() if n > 1]:
        raise EvidenceBroken(f"{folder.display_path}: {NAME} lists the file {shared[0]!r} for more than one table.")
    for name in files:
        folder.path_of(name)
    return manifest, hashlib.sha256(content).hexdigest()


def check_files(folder: EvidenceFolder, manifest: Manifest, *, digests: bool) -> int:
    """Compare each file with the manifest: size, rows and schema, and its sha256 if ``digests`` is true.

    Return how many rows can be decoded at a time, so that memory use is limited.

    Raises:
        EvidenceBroken: a file is missing or differs; the message names it.
    """
    check_sizes(folder, manifest)
    rows = MAX_BATCH_ROWS
    for each in manifest.files:
        if digests and folder.digest(each.file) != each.sha256:
            raise _not_as_frozen(folder, each, "its sha256 differs from the manifest")
        rows = min(rows, _check_content(folder, each))
    return rows


def check_sizes(folder: EvidenceFolder, manifest: Manifest) -> None:
    """Compare each file's size with the manifest, because the engine reads a missing file as an empty table.

    Raises:
        EvidenceBroken: a file is missing, or has another size.
    """
    for each in manifest.files:
        size = folder.size(each.file)
        if size is None:
            raise EvidenceBroken(f"{folder.display_path}: {each.file} is missing. Copy the whole folder again.")
        if size != each.size:
            raise _not_as_frozen(folder, each, f"it has {size:,} bytes instead of {each.size:,}")


def _check_content(folder: EvidenceFolder, file: TableFile) -> int:
    try:
        with folder.filesystem.open_input_file(folder.path_of(file.file)) as stream:
            parquet = pq.ParquetFile(stream)
            _check_form(folder, file, parquet)
            columns = [parquet.schema.column(at) for at in range(len(parquet.schema))]
            texts = [each.path for each in columns if each.physical_type == "BYTE_ARRAY"]  # also within lists
        with folder.filesystem.open_input_file(folder.path_of(file.file)) as stream:
            return _safe_batch_rows(pq.ParquetFile(stream, read_dictionary=texts))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _not_as_frozen(folder, file, f"it is not a readable Parquet file: {error}") from error


def _check_form(folder: EvidenceFolder, file: TableFile, parquet: pq.ParquetFile) -> None:
    rows, schema = parquet.metadata.num_rows, parquet.schema_arrow
    if rows != file.rows:
        raise _not_as_frozen(folder, file, f"it has {rows:,} rows instead of {file.rows:,}")
    if [(field.name, type_name(field.type)) for field in schema] != [(each.name, each.arrow) for each in file.columns]:
        raise _not_as_frozen(folder, file, "its columns differ from the manifest")
    if len(schema) > _MAX_COLUMNS:
        raise _not_as_frozen(folder, file, f"it has {len(schema):,} columns, but at most {_MAX_COLUMNS:,} are allowed")
    if odd := [f"{field.name} is {field.type}" for field in schema if not _is_of_a_table(field.type)]:
        raise _not_as_frozen(folder, file, f"it has a column of a type that is not allowed: {odd[0]:.200}")
    encodings = {each for chunks in _chunks(parquet) for chunk in chunks for each in chunk.encodings}
    if odd := sorted(encodings - _ENCODINGS):
        raise _not_as_frozen(folder, file, f"it has the encoding {odd[0]}, which freeze() does not write")


def _is_of_a_table(kind: pa.DataType) -> bool:
    """Return whether a table can have a column of this type; a null column is refused, as it can have endless rows."""
    if pa.types.is_null(kind) or pa.types.is_dictionary(kind) or isinstance(kind, pa.BaseExtensionType):
        return False
    return all(_is_of_a_table(kind.field(at).type) for at in range(kind.num_fields))


def _not_as_frozen(folder: EvidenceFolder, file: TableFile, how: str) -> EvidenceBroken:
    return EvidenceBroken(
        f"{folder.display_path}: {file.file} was changed or damaged after the freeze: {how}. Copy the whole folder "
        f"again."
    )
