"""Read an archive on an object store: its files never change, so each is downloaded once, when it is first needed.

Import this module late: it needs deltalake.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
import pyarrow as pa
from deltalake.fs import DeltaStorageHandler
from pyarrow import fs

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyarrow.dataset import Dataset


def cached_dataset(table: DeltaTable) -> Dataset:
    """Return a dataset of the table's files; a file that a statement needs is downloaded into the user's cache.

    A statement about some days opens no file of other days. Cached files that the table no longer has are removed.
    """
    name = hashlib.sha256(table.table_uri.encode()).hexdigest()[:16]
    folder = platformdirs.user_cache_path("restate_lab") / "archives" / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = pa.table(table.get_add_actions(flatten=True)).select(["path", "size_bytes"]).to_pylist()
    sizes = {file["path"]: file["size_bytes"] for file in files}
    for path in folder.rglob("*.parquet"):
        if path.relative_to(folder).as_posix() not in sizes:
            path.unlink(missing_ok=True)
    # The same arguments as in to_pyarrow_dataset(), which has no other way to pass them.
    handler: Any = _CachedFiles.from_table(table._table, table._storage_options, sizes)  # noqa: SLF001
    handler.folder = folder
    return table.to_pyarrow_dataset(filesystem=fs.PyFileSystem(handler))


class _CachedFiles(DeltaStorageHandler):
    """The files of a table on its store; a file that is opened for reading is a local copy."""

    folder: Path

    def open_input_file(self, path: str) -> Any:
        local = self.folder / path
        if not local.exists():
            self._download(path, local)
        return pa.memory_map(str(local))

    def _download(self, path: str, local: Path) -> None:
        local.parent.mkdir(parents=True, exist_ok=True)
        unfinished = local.with_name(f"{local.name}.{uuid.uuid4().hex[:8]}.unfinished")
        try:
            with super().open_input_file(path) as remote, unfinished.open("wb") as file:
                shutil.copyfileobj(remote, file)
            unfinished.rename(local)
        finally:
            with contextlib.suppress(FileNotFoundError):
                unfinished.unlink()
