"""Fixes of Dovecot, asked about recordings of real hosts that fail: what each wants of the configuration."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.components import read_all, servers
from ansible.module_utils.mtaudit.config.dovecot import Wanted
from ansible.module_utils.mtaudit.control import REGISTRY, Site
from ansible.module_utils.mtaudit.fix import FIXES
from ansible.module_utils.mtaudit.fixes import every  # noqa: F401 - registers every fix
from ansible.module_utils.mtaudit.readers.dovecot import Dovecot, parse
from ansible.module_utils.mtaudit.runner import Replay
from capture_fixture import restore, site_from

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
OWN = sorted(control for control, component in FIXES if component == "dovecot")
RECORDED = sorted(path.parent for control in OWN for path in FIXTURES.glob(f"{control}/fail-dovecot-*/recording.json"))
SERVICES = """\
protocols = imap
service imap-login {
  inet_listener imap {
  }
}
"""
WANTED: dict[str, dict[str, Any]] = {
    "AUTH-01/fail-dovecot-login-in-clear": {"": {"disable_plaintext_auth": "yes"}},
    "AUTH-01/fail-dovecot-login-in-clear-d13": {"": {"auth_allow_cleartext": "no"}},
    "AUTH-01/fail-dovecot-login-in-clear-for-some": {"remote 198.19.0.0/16": {"disable_plaintext_auth": "yes"}},
    "AUTH-01/fail-dovecot-login-in-clear-for-some-d13": {"remote 198.19.0.0/16": {"auth_allow_cleartext": "no"}},
    "AUTH-05/fail-dovecot-cram-md5": {"": {"auth_mechanisms": "plain"}},
    "AUTH-06/fail-dovecot-session-in-dovecot-answers-at-once": {"": {"auth_failure_delay": "2 secs"}},
    "LOG-01/fail-dovecot-login-not-named": {"": {"login_log_format_elements": "user=<%u> method=%m rip=%r"}},
    "LOG-06/fail-dovecot-debug-passwords": {"": {"auth_debug_passwords": "no"}},
    "LOG-06/fail-dovecot-verbose-passwords": {"": {"auth_verbose_passwords": "no"}},
    "RATE-02/fail-dovecot-limits-no-connections": {"": {"mail_max_userip_connections": "100"}},
    "RELAY-07/fail-dovecot-proxy-header-d12": {"": {"haproxy_trusted_networks": ""}},
    "RELAY-07/fail-dovecot-proxy-header-d13": {"": {"haproxy_trusted_networks": ""}},
    "RELAY-07/fail-dovecot-trusted-logins-d12": {"": {"login_trusted_networks": ""}},
    "RELAY-07/fail-dovecot-trusted-logins-d13": {"": {"login_trusted_networks": ""}},
    "RELAY-13/fail-dovecot-script-after-login-d12": {"service imap": {"executable": "imap"}, "service imap-postlogin": None},
    "RELAY-13/fail-dovecot-script-after-login-d13": {"service imap": {"executable": "imap"}, "service imap-postlogin": None},
    "TLS-01/fail-dovecot-tls-old": {"": {"ssl_min_protocol": "TLSv1.2"}},
}


def proposed(control: str, dovecot: Dovecot, site: Site) -> Wanted | None:
    """What the fix wants of what fails."""
    failing = [f for f in REGISTRY[(control, "dovecot")].evaluate(dovecot, site) if f.status.value == "fail"]
    assert failing, "nothing fails"
    found: Wanted | None = FIXES[(control, "dovecot")].propose(dovecot, site, failing)
    return found


def recorded(name: str) -> tuple[Dovecot, Site]:
    directory = FIXTURES / name
    recording = restore(json.loads((directory / "recording.json").read_text()))
    expected = json.loads((directory / "expect.json").read_text())
    readings = read_all(Replay(recording), expected["programs"], recording.get("ids", ()))
    site = replace(site_from(expected["site"]), servers=servers(readings))
    site = replace(site, tunables=site.tunables or {"max_recipients": 1000, "max_message_mb": 100, "max_connections": 100})
    return next(r.instances[0] for r in readings if r.component.name == "dovecot"), site


@pytest.mark.parametrize("directory", RECORDED, ids=lambda d: f"{d.parent.name}-{d.name}")
def test_every_recorded_failure_has_a_fix(directory: Path) -> None:
    name = f"{directory.parent.name}/{directory.name}"
    found = proposed(directory.parent.name, *recorded(name))
    assert found is not None
    assert name not in WANTED or found.sections == WANTED[name]


def test_each_that_is_listed_is_recorded() -> None:
    assert set(WANTED) <= {f"{directory.parent.name}/{directory.name}" for directory in RECORDED}


def parsed(text: str, version: str = "2.4.1-4") -> Dovecot:
    return parse(f"# {version} (7d8c0e5759): /etc/dovecot/dovecot.conf\n{text}{SERVICES}")


def test_the_block_that_counts_is_changed() -> None:
    """A protocol inside a filter counts more than the filter, and that more than a protocol outside."""
    text = ("auth_mechanisms = plain\nssl = yes\nauth_allow_cleartext = no\nprotocol imap {\n  auth_allow_cleartext = yes\n}\n"
            "remote 10.0.0.0/8 {\n  ssl = yes\n  protocol imap {\n    auth_allow_cleartext = yes\n  }\n}\n")
    found = proposed("AUTH-01", parsed(text), Site())
    assert found is not None and found.sections == {
        "protocol imap": {"auth_allow_cleartext": "no"},
        "remote 10.0.0.0/8 / protocol imap": {"auth_allow_cleartext": "no"},
    }


@pytest.mark.parametrize(
    ("certificate", "wanted"),
    [("", None),
     ("ssl_server {\n  cert_file = /etc/ssl/certs/mail.pem\n}\n", {"": {"auth_allow_cleartext": "no", "ssl": "yes"}})],
)  # fmt: skip
def test_without_tls_nobody_is_locked_out(certificate: str, wanted: dict[str, Any] | None) -> None:
    text = f"auth_mechanisms = plain\nssl = no\nauth_allow_cleartext = yes\n{certificate}"
    found = proposed("AUTH-01", parsed(text), Site())
    assert (found.sections if found else None) == wanted


def test_a_network_that_is_the_hosts_own_stays_trusted() -> None:
    text = "ssl = required\nlogin_trusted_networks = 127.0.0.0/8, 10.0.0.0/8 ::1\n"
    found = proposed("RELAY-07", parsed(text), Site())
    assert found is not None and found.sections == {"": {"login_trusted_networks": "127.0.0.0/8 ::1"}}


def test_a_script_that_lets_nobody_relay_still_runs() -> None:
    text = ("service imap {\n  executable = imap after\n}\nservice after {\n"
            "  executable = script-login /usr/local/bin/relay-ctrl-allow /usr/local/bin/quota-mail\n}\n")
    dovecot = parsed(text)
    dovecot.scripts.update({"/usr/local/bin/relay-ctrl-allow": "#!/bin/sh\n", "/usr/local/bin/quota-mail": "#!/bin/sh\n"})
    found = proposed("RELAY-13", dovecot, Site())
    assert found is not None and found.sections == {
        "service after": {"executable": "script-login /usr/local/bin/quota-mail"}}
