"""Versions of Debian packages are compared as dpkg does."""

from __future__ import annotations

import shutil
import subprocess
from itertools import product

import pytest
from ansible.module_utils.mtaudit.readers.packages import newer

VERSIONS = ("1.0", "1.0-1", "1.0-1+deb12u1", "1.0~rc1-1", "1.0-1~bpo1", "4.96-15+deb12u10", "4.96-15+deb12u9", "2:1.0", "1:9",
            "1.0a", "1.0+dfsg", "1.0.1", "3.0.22-1~deb12u2", "1.00", "1.a", "1.~", "1.0-1-2")


def test_a_version_is_newer_or_not() -> None:
    assert newer("4.96-15+deb12u10", "4.96-15+deb12u9")
    assert not newer("1.0~rc1-1", "1.0-1")
    assert newer("1:1.0", "9.0")
    assert not newer("1.00", "1.0")


@pytest.mark.skipif(not shutil.which("dpkg"), reason="no dpkg on this machine")
def test_dpkg_says_the_same() -> None:
    for one, other in product(VERSIONS, VERSIONS):
        said = subprocess.run(["dpkg", "--compare-versions", one, "gt", other], check=False).returncode == 0
        assert newer(one, other) == said, (one, other)
