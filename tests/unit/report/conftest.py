"""A run, made and reported, in one call."""

from __future__ import annotations

from collections.abc import Callable

import factory
import pytest
from ansible.module_utils.mtaudit.report.produce import Made


@pytest.fixture
def reported() -> Callable[..., Made]:
    """Read a run directory and write its reports."""
    return factory.report
