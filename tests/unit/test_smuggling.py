"""PATCH-02 where no recording can be had: versions of Postfix and Exim that the lab's releases do not have any more."""

from __future__ import annotations

import pytest
from ansible.module_utils.mtaudit.control import REGISTRY, Site
from ansible.module_utils.mtaudit.readers import exim, postfix

MASTER = "smtp inet n - y - - smtpd\nrewrite unix - - y - - trivial-rewrite\n"
RESTRICTED = "smtpd_relay_restrictions = reject_unauth_destination\ninet_interfaces = all\ninet_protocols = all\n"
OLD = "mail_version = 3.7.6\n" + RESTRICTED


def statuses(component: str, reading: object) -> list[tuple[str, str]]:
    found = REGISTRY[("PATCH-02", component)].evaluate(reading, Site(kind="mx"))
    return [(finding.status.value, finding.message) for finding in found]


def test_a_parameter_that_this_postfix_does_not_know_has_no_effect() -> None:
    """main.cf says yes, postconf of an old version does not print it: only an update helps."""
    main = "smtpd_forbid_bare_newline = yes\n"
    read = postfix.parse("/etc/postfix", OLD, MASTER, main, MASTER)
    assert [status for status, _ in statuses("postfix", read)] == ["fail"]
    assert "only an update helps" in statuses("postfix", read)[0][1]
    known = postfix.parse("/etc/postfix", OLD + "smtpd_forbid_bare_newline = yes\nmynetworks =\n", MASTER, main, MASTER)
    assert [status for status, _ in statuses("postfix", known)] == ["pass"]


@pytest.mark.parametrize(("version", "package", "status"), [
    ("4.98.2", "", "pass"), ("4.97.1", "", "pass"), ("4.97", "", "unknown"), ("4.96", "4.96-15+deb12u4", "pass"),
    ("4.96", "4.96-15+deb12u10", "pass"), ("4.96", "4.96-15+deb12u3", "fail"), ("4.96", "4.96-15", "unknown"),
    ("4.94.2", "4.94.2-7+deb11u1", "fail"), ("4.94.2", "4.94.2-7+deb11u3", "pass"), ("4.95", "4.95-4ubuntu2.6", "unknown"),
])  # fmt: skip
def test_exims_release_and_debians_revision(version: str, package: str, status: str) -> None:
    read = exim.parse(f'# Exim Configuration ({version})\n# 1 "/etc/exim4/exim.conf"\n', "daemon_smtp_ports = 25\n")
    read.package = package
    assert {found for found, _ in statuses("exim", read)} == {status}
