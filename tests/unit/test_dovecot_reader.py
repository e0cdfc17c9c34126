"""The Dovecot reader on recordings of real Dovecots, 2.3 and 2.4, and on what it must not take for one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.audit import Request, audit, infer_kind
from ansible.module_utils.mtaudit.components import read_all
from ansible.module_utils.mtaudit.readers import dovecot
from ansible.module_utils.mtaudit.readers.dovecot_model import Dovecot
from ansible.module_utils.mtaudit.runner import ReadError, Replay, ToolMissing
from capture_fixture import restore

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
NOT_INSTALLED: dict[str, Any] = {"run": [], "read": {}, "stat": {}, "glob": {}, "which": {"doveconf": None, "dovecot": None}}


def recorded(name: str) -> Replay:
    return Replay(restore(json.loads((FIXTURES / name / "recording.json").read_text())))


def answering(stdout: str, returncode: int = 0, stderr: str = "") -> Replay:
    run = {"argv": ["doveconf", "-a"], "stdin": "", "env": {}, "returncode": returncode, "stdout": stdout, "stderr": stderr}
    return Replay({**NOT_INSTALLED, "run": [run], "which": {"doveconf": "/usr/bin/doveconf"}})


def parsed(*lines: str) -> Dovecot:
    return dovecot.parse("\n".join(["# 2.4.1-4 (7d8c0e5759): /etc/dovecot/dovecot.conf", *lines]))


@pytest.mark.parametrize(("fixture", "version"), [("RELAY-13/pass-dovecot-untouched", "2.3.19.1"),
                                                  ("RELAY-07/fail-dovecot-trusted-logins-d13", "2.4.1-4")])
def test_both_versions_are_read_with_one_program(fixture: str, version: str) -> None:
    replay = recorded(fixture)
    found = dovecot.read(replay)[0]
    assert (found.version, found.config_file, replay.spawns) == (version, "/etc/dovecot/dovecot.conf", 1)
    assert [(p.listener.name, p.protocol, p.listener.tls_wrapper) for p in found.ports()] == [
        ("*:143", "imap", False), ("*:993", "imap", True)]
    assert found.value("ssl") == "required" and found.scopes("imap")[0].value("ssl_min_protocol") == "TLSv1.2"


def test_nothing_is_run_where_it_is_not_installed() -> None:
    replay = Replay(NOT_INSTALLED)
    assert dovecot.read(replay) == [] and replay.spawns == 0


def test_what_cannot_be_read_is_an_error_and_never_nothing() -> None:
    with pytest.raises(ToolMissing):
        dovecot.read(Replay({**NOT_INSTALLED, "which": {"doveconf": None, "dovecot": "/usr/sbin/dovecot"}}))
    said = "doveconf: Fatal: Error in configuration file /etc/dovecot/x.conf line 15: Unknown setting: ssl_cert"
    with pytest.raises(ReadError, match="line 15: Unknown setting: ssl_cert"):
        dovecot.read(answering("# 2.4.1 (7d8c): /etc/dovecot/dovecot.conf\n", 89, said))
    with pytest.raises(ReadError, match="gave no version"):
        dovecot.read(answering("something else\n"))


def test_a_filter_holds_for_its_connections_only() -> None:
    found = parsed("ssl = required", "protocol imap {", "  ssl = yes", "}", "remote 198.51.100.0/24 {", "  protocol pop3 {",
                   "    ssl = no", "  }", "}", "protocol !imap {", "  auth_allow_cleartext = yes", "}")
    assert [(s.where, s.value("ssl")) for s in found.scopes("imap")] == [
        ("doveconf", "yes"), ("doveconf remote 198.51.100.0/24", "yes")]
    assert [(s.where, s.value("ssl")) for s in found.scopes("pop3")] == [
        ("doveconf", "required"), ("doveconf remote 198.51.100.0/24", "no")]
    assert [s.on("auth_allow_cleartext") for s in (found.scopes("imap")[0], found.scopes("pop3")[0])] == [False, True]


def test_ports_as_dovecot_opens_them() -> None:
    found = parsed("listen = 127.0.0.1 ::", "ssl = no",
                   "protocols {", "  imap = yes", "  pop3 = no", "  lmtp = yes", "  submission = yes", "}",
                   "service imap-login {", "  inet_listener imap {", "    listen = *", "  }",
                   "  inet_listener imaps {", "  }", "}",
                   "service pop3-login {", "  inet_listener pop3 {", "  }", "}",
                   "service submission-login {", "  inet_listener submission {", "  }", "}",
                   "service lmtp {", "  inet_listener lmtp {", "    port = 24", "  }", "}")
    listeners = [p.listener for p in found.ports()]
    assert [(each.name, each.protocol, each.families, each.loopback_only) for each in listeners] == [
        ("*:143", "imap", ("ipv4",), False),
        ("*:587", "smtp", ("ipv6",), False), ("127.0.0.1:587", "smtp", ("ipv4",), True),
        ("*:24", "lmtp", ("ipv6",), False), ("127.0.0.1:24", "lmtp", ("ipv4",), True)]


def test_the_digest_follows_what_the_controls_look_at() -> None:
    plain = dovecot.digest([parsed("ssl = required", "mail_path = ~/Maildir")])
    assert plain == dovecot.digest([parsed("ssl = required", "mail_path = ~/mail")])
    assert plain != dovecot.digest([parsed("ssl = yes", "mail_path = ~/Maildir")])
    assert plain != dovecot.digest([parsed("ssl = required", "remote 198.51.100.0/24 {", "  ssl = yes", "}")])


def test_a_server_of_mailboxes_alone_is_no_mail_server_of_a_kind() -> None:
    readings = read_all(recorded("RELAY-13/pass-dovecot-untouched"), ["dovecot"])
    assert infer_kind(readings) == ("", "no mail server found")


def test_mailbox_ports_are_never_probed_for_relaying() -> None:
    class Host(Replay):
        """No network and no Postfix, so that nothing else was recorded."""

        def read(self, path: str) -> str:
            raise ReadError(f"Could not read {path}")

        def which(self, name: str) -> Any:
            return f"/usr/bin/{name}" if name == "doveconf" else None

        def stat(self, path: str) -> None:
            return None

    recording = restore(json.loads((FIXTURES / "RELAY-13/pass-dovecot-untouched/recording.json").read_text()))
    estate = audit(Host(recording), Request("imap1", ())).estate
    assert estate["listeners"] == []
    assert [(each["name"], each["protocol"]) for each in estate["mailbox_listeners"]] == [("*:143", "imap"), ("*:993", "imap")]


@pytest.mark.parametrize("control", ["RELAY-07", "RELAY-13"])
@pytest.mark.parametrize("verdict", ["pass", "fail", "unknown"])
def test_every_control_on_dovecot_has_a_fixture_of_each_verdict(control: str, verdict: str) -> None:
    assert list((FIXTURES / control).glob(f"{verdict}-dovecot-*/recording.json"))
