"""Import our modules out of the zip that Ansible sends, compiling each of them once.

zipimport compiles a module twice: when it is found, for its file name, and when it is run (zipimporter.get_filename and
get_code, Python 3.9 to 3.13). On a managed host that was a tenth of what the audit costs.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Sequence
from importlib.abc import ExecutionLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from typing import Any, Optional
from zipimport import zipimporter


class _Loader(ExecutionLoader):
    """A module of the zip: its source, and the file name that tracebacks show."""

    def __init__(self, archive: zipimporter, path: str) -> None:
        self._archive, self._path = archive, path

    def is_package(self, fullname: str) -> bool:
        return self._archive.is_package(fullname)

    def get_source(self, fullname: str) -> Optional[str]:
        return self._archive.get_source(fullname)

    def get_filename(self, fullname: str) -> str:
        return self._path


class _Finder(MetaPathFinder):
    def __init__(self, package: str) -> None:
        self._prefix = package + "."

    def find_spec(self, fullname: str, path: Optional[Sequence[str]], target: Any = None) -> Optional[ModuleSpec]:
        if not fullname.startswith(self._prefix) or not path:
            return None
        archive = pkgutil.get_importer(path[0])
        if not isinstance(archive, zipimporter):
            return None
        try:
            package = archive.is_package(fullname)
        except ImportError:
            return None  # not in the zip: let the others look
        place = f"{path[0]}/{fullname.rpartition('.')[2]}"
        file = f"{place}/__init__.py" if package else f"{place}.py"
        return spec_from_file_location(fullname, file, loader=_Loader(archive, file),
                                       submodule_search_locations=[place] if package else None)  # fmt: skip


def compile_once(package: str) -> None:
    """Import what is below `package`, which lies in a zip, through this module from now on."""
    sys.meta_path.insert(0, _Finder(package))
