"""How rspamd comes to see mail where another filter is called already."""

from __future__ import annotations

import pytest
from ansible.module_utils.mtaudit.address import parse_address
from ansible.module_utils.mtaudit.config.exim import Wanted as WantedExim
from ansible.module_utils.mtaudit.config.files import ConfigError
from ansible.module_utils.mtaudit.config.postfix import Wanted
from ansible.module_utils.mtaudit.control import Site
from ansible.module_utils.mtaudit.finding import HOST, Finding, Status, Subject
from ansible.module_utils.mtaudit.fixes.scanned import exim_asks_the_scanner, postfix_calls_the_scanner
from ansible.module_utils.mtaudit.readers.exim import parse
from ansible.module_utils.mtaudit.readers.postfix import Postfix
from ansible.module_utils.mtaudit.readers.postfix_syntax import master_cf
from ansible.module_utils.mtaudit.readers.rspamd import Rspamd

MILTER, SIGNS = "inet:127.0.0.1:11332", "inet:localhost:8891"
MASTER = "smtp inet n - y - - smtpd\n587 inet n - y - - smtpd\n"


def rspamd(*sockets: str) -> Site:
    proxy = {"milter": True, "bind_socket": [MILTER[5:]], "upstream": {"local": {"self_scan": True}}}
    section = {"worker": [{"rspamd_proxy": proxy}, {"normal": {"bind_socket": list(sockets)}}]}
    listening = tuple((parse_address(a), p) for a in ("127.0.0.1", "::1") for p in (11332, 11333))
    return Site(rspamd=Rspamd(section, listening))


def unseen(*subjects: Subject) -> list[Finding]:
    return [Finding("OUT-01", subject, Status.FAIL, message="no content scanner sees mail of accounts") for subject in subjects]


@pytest.mark.parametrize(
    ("override", "becomes"),
    [(SIGNS, f"{SIGNS}, {MILTER}"), ("$signing", f"{SIGNS}, {MILTER}"),
     (f"{{ {SIGNS}, default_action=accept }}", f"{{ {SIGNS}, default_action=accept }}, {MILTER}"), ("", None)],
)  # fmt: skip
def test_a_port_keeps_the_milters_of_its_own(override: str, becomes: str | None) -> None:
    main = {"inet_interfaces": "all", "inet_protocols": "all", "smtpd_milters": MILTER, "signing": SIGNS}
    entries = tuple(master_cf(MASTER + f"  -o {{ smtpd_milters = {override} }}\n"))
    postfix = Postfix("/etc/postfix", main, entries=entries)
    found = postfix_calls_the_scanner(postfix, rspamd(), unseen(Subject("listener", "*:587")))
    assert found == Wanted(options={"587/inet": {"smtpd_milters": becomes}})


@pytest.mark.parametrize(("there", "becomes"), [("", "$smtpd_milters"), (SIGNS, f"{SIGNS}, {MILTER}")])
def test_mail_of_programs_keeps_its_milters(there: str, becomes: str) -> None:
    postfix = Postfix("/etc/postfix", {"smtpd_milters": MILTER, "non_smtpd_milters": there})
    assert postfix_calls_the_scanner(postfix, rspamd(), unseen(HOST)) == Wanted(parameters={"non_smtpd_milters": becomes})


def asked(options: str, acl: str, *sockets: str) -> WantedExim:
    exim = parse(f"# Exim Configuration (4.98)\nbegin acl\n{acl}", f"{options}\nacl_smtp_data = acl_check_data")
    found: WantedExim = exim_asks_the_scanner(exim, rspamd(*sockets), unseen(Subject("listener", "*:25")))
    return found


DEFAULT, ACL = "spamd_address = 127.0.0.1 783", "acl_check_data:\naccept"


@pytest.mark.parametrize(
    ("options", "sockets", "address"),
    [(DEFAULT, ("[::1]:11333", "127.0.0.1:11333"), "127.0.0.1 11333 variant=rspamd"),
     (DEFAULT, ("[::1]:11333",), "<; ::1 11333 variant=rspamd"),
     ("spamd_address = 127.0.0.1 11333 variant=rspamd", ("[::1]:11333",), None)],
)  # fmt: skip
def test_where_exim_asks(options: str, sockets: tuple[str, ...], address: str | None) -> None:
    assert asked(options, ACL, *sockets).options == ({"spamd_address": address} if address else {})


@pytest.mark.parametrize(
    ("options", "acl"),
    [("spamd_address = 198.51.100.9 783", ACL), (DEFAULT, "acl_check_data:\nwarn spam = nobody\naccept")],
)  # fmt: skip
def test_another_scanner_of_exims_is_left_alone(options: str, acl: str) -> None:
    with pytest.raises(ConfigError, match="asks another scanner"):
        asked(options, acl, "127.0.0.1:11333")
