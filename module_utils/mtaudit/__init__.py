"""mtaudit: find out whether a mail server can be used to send spam, and prove it."""

from zipimport import zipimporter

__version__ = "0.1.0"

if isinstance(globals().get("__loader__"), zipimporter):
    from .zipped import compile_once

    compile_once(__name__)
