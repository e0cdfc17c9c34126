"""Two queues of one: what each side keeps, what is refused, and how the mail of one queue comes into another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.module_utils.mtaudit.config import postfix_split
from ansible.module_utils.mtaudit.config.files import ConfigError, NewFile
from ansible.module_utils.mtaudit.config.postfix import Entry
from ansible.module_utils.mtaudit.config.split import Split
from ansible.module_utils.mtaudit.transaction import journal, services, spools
from ansible.module_utils.mtaudit.transaction.places import SnapshotError
from ansible.module_utils.mtaudit.transaction.store import Store
from test_postfix_reader import instance
from test_snapshot import Systemd

MAIN = """\
mydestination = example.org, localhost
relay_domains = example.net
mynetworks = 127.0.0.0/8 198.51.100.0/24
transport_maps = inline:{ {example.net = smtp:[10.0.0.2]} }
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
queue_directory = /var/spool/postfix
data_directory = /var/lib/postfix
multi_instance_directories =
default_transport = smtp
"""
MASTER = """\
smtp inet n - y - - smtpd
10025 inet n - y - - smtpd
submission inet n - y - - smtpd -o smtpd_sasl_auth_enable=yes -o syslog_name=postfix/submission
pickup unix n - y 60 1 pickup
"""


def split(main: str = MAIN, master: str = MASTER, **given: object) -> tuple[postfix_split.Wanted, postfix_split.Wanted]:
    """What is wanted of the inbound and of the outbound instance."""
    primary, wanted = instance(main, master), Split(**{"listen": ("198.51.100.7:2525",), **given})  # type: ignore[arg-type]
    postfix_split._refuse(primary, wanted)
    written = {"/".join(line.split()[:2]): Entry.parse(line) for line in master.splitlines()}
    return (postfix_split._inbound(primary, wanted, "/etc/postfix-out"), postfix_split._outbound(primary, wanted, None, written))


def test_the_inbound_side_loses_clients_and_gives_on_what_leaves() -> None:
    inbound, _ = split()
    assert inbound.services["submission/inet"] is None and "smtp/inet" not in inbound.services
    assert inbound.parameters["mynetworks"] == "127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128"
    assert inbound.parameters["default_transport"] == "handover:[127.0.0.1]:10587"
    assert inbound.parameters["multi_instance_directories"] == "/etc/postfix-out"
    assert inbound.options["127.0.0.1:10588/inet"]["smtpd_relay_restrictions"] == "reject_unauth_destination"
    assert not {"transport_maps", "relay_domains", "mydestination"} & set(inbound.parameters), "what comes in stays as it is"


def test_the_outbound_side_has_no_domains_and_keeps_its_logins() -> None:
    _, outbound = split()
    assert outbound.services["smtp/inet"] is None and outbound.services["10025/inet"] is None
    assert outbound.services["submission/inet"] == "submission inet n - n - - smtpd"
    assert dict(outbound.options["submission/inet"]) == {
        "smtpd_sasl_auth_enable": "yes", "syslog_name": "postfix/submission",
        "smtpd_sasl_path": "/var/spool/postfix/private/auth",
    }  # fmt: skip
    assert outbound.parameters["mydestination"] == ""
    assert outbound.parameters["relay_domains"] == "example.org localhost example.net"
    assert outbound.parameters["smtpd_relay_restrictions"] == "permit_mynetworks, permit_sasl_authenticated, reject"
    assert outbound.parameters["transport_maps"] == (
        "inline:{ {example.org = handover:[127.0.0.1]:10588} {example.net = handover:[127.0.0.1]:10588} }, "
        "inline:{ {example.net = smtp:[10.0.0.2]} }"
    ), "the inbound instance knows where mail for its domains goes"
    assert "mynetworks" not in outbound.parameters and "default_transport" not in outbound.parameters


def test_addresses_of_its_own_and_other_networks() -> None:
    inbound, outbound = split(
        networks=("10.0.0.0/8",), listen=("198.51.100.7:25",), inbound_addresses=("198.51.100.6", "2001:db8::6")
    )
    assert inbound.parameters["inet_interfaces"] == "localhost, 198.51.100.6, 2001:db8::6"
    assert str(outbound.parameters["mynetworks"]).endswith("[::1]/128 10.0.0.0/8")
    assert outbound.services["198.51.100.7:25/inet"] == "198.51.100.7:25 inet n - y - - smtpd"


@pytest.mark.parametrize(
    ("main", "master", "given", "why"),
    [(MAIN, MASTER, {"listen": ()}, "198.51.100.0/24 may send without a login, and port 25 will not"),
     (MAIN, MASTER, {"listen": ("198.51.100.7:25",)}, r"listens on \*:25, so the outbound one cannot on 198.51.100.7:25"),
     (MAIN, MASTER, {"listen": ("198.51.100.7:25",), "inbound_addresses": ("198.51.100.7",)}, r"listens on \*:25"),
     (MAIN, MASTER, {"listen": ("2525",)}, "'2525' is no address:port"),
     (f"{MAIN}smtpd_sasl_auth_enable = yes\n", "smtp inet n - y - - smtpd\n", {}, "logins are taken on port 25 alone"),
     (f"{MAIN}smtpd_sasl_type = cyrus\n", MASTER, {}, "submission/inet asks Cyrus SASL from a chroot"),
     (f"{MAIN}smtpd_milters = unix:opendkim/opendkim.sock\n", MASTER, {}, "asks opendkim/opendkim.sock, which another"),
     (f"{MAIN}smtpd_recipient_restrictions = check_policy_service unix:private/other\n", MASTER, {}, "asks private/other")],
)  # fmt: skip
def test_what_cannot_be_parted_is_refused(main: str, master: str, given: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        split(main, master, **given)


def test_names_that_a_release_has_no_unit_for() -> None:
    primary = instance(MAIN, MASTER)
    assert postfix_split.place(primary, "postfix-out") == ("/etc/postfix-out", "/var/spool/postfix-out", "/var/lib/postfix-out")
    for name in ("out", "postfix-my-out", "postfix-", "postfix-/x"):
        with pytest.raises(ConfigError, match="no name for an instance"):
            postfix_split.place(primary, name)


def test_one_side_on_a_host() -> None:
    primary = instance(MAIN, MASTER)
    inbound = postfix_split.one_side(primary, True, Split(other=("198.51.100.7", "2001:db8::7"), acknowledged=True))
    assert inbound.parameters["default_transport"] == "handover:[198.51.100.7]:10587, [2001:db8::7]:10587"
    assert inbound.services["submission/inet"] is None and inbound.services["10588/inet"] == "10588 inet n - y - - smtpd"
    assert inbound.options["10588/inet"]["mynetworks"] == "198.51.100.7,[2001:db8::7]"
    assert inbound.options["10588/inet"]["smtpd_relay_restrictions"] == "reject_unauth_destination"
    outbound = postfix_split.one_side(primary, False, Split(other=("198.51.100.6",), networks=("10.0.0.0/8",), acknowledged=True))
    assert outbound.parameters["relay_transport"] == "handover:[198.51.100.6]:10588"
    assert "submission/inet" not in outbound.services
    assert str(outbound.parameters["mynetworks"]).endswith("[::1]/128 10.0.0.0/8")
    for other in ((), ("out.example.org",)):
        with pytest.raises(ConfigError, match="give the addresses of the hosts of the other"):
            postfix_split.one_side(primary, True, Split(other=other))
    with pytest.raises(ConfigError, match="take no more of what is sent with a login .*587.*set mta_relay_split_acknowledged"):
        postfix_split.one_side(primary, True, Split(other=("198.51.100.7",)))
    with pytest.raises(ConfigError, match="take no more of strangers' mail for "):
        postfix_split.one_side(primary, False, Split(other=("198.51.100.7",)))


# Queues


def queue(tmp_path: Path, name: str, **files: str) -> str:
    """A queue directory; a file's mode says whether it is whole, as Postfix does it."""
    for path in ("maildrop", "incoming", "active", "deferred/A", "hold", "defer/A"):
        (tmp_path / name / path).mkdir(parents=True)
    for path, mode in files.items():
        file = tmp_path / name / path.replace("__", "/")
        file.write_text(f"mail {path}")
        file.chmod(int(mode, 8))
    return str(tmp_path / name)


def held(spool: str) -> dict[str, str]:
    return {str(path.relative_to(spool)): path.read_text() for path in Path(spool).rglob("*") if path.is_file()}


@pytest.mark.parametrize("same_disk", [True, False])
def test_all_whole_mail_goes_over_and_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_disk: bool) -> None:
    one = queue(tmp_path, "one", deferred__A__A1="700", active__B1="700", incoming__C1="700", incoming__half="600",
                hold__D1="700", defer__A__A1="600", maildrop__E1="700")  # fmt: skip
    two = queue(tmp_path, "two", maildrop__A1="700")
    if not same_disk:
        monkeypatch.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(OSError(18, "Invalid cross-device link")))
    spools.hand_over(one, two)
    assert held(two) == {
        "maildrop/A1": "mail maildrop__A1", "maildrop/A10": "mail deferred__A__A1", "maildrop/B1": "mail active__B1",
        "maildrop/C1": "mail incoming__C1", "maildrop/E1": "mail maildrop__E1", "hold/D1": "mail hold__D1",
    }  # fmt: skip
    assert set(held(one)) == {"incoming/half", "defer/A/A1"}
    assert {oct(path.stat().st_mode & 0o777) for path in Path(two).rglob("*1*") if path.is_file()} == {"0o700"}
    spools.hand_over(one, two)
    assert len(held(two)) == 6


def test_what_cannot_go_over_stays(tmp_path: Path) -> None:
    one = queue(tmp_path, "one", deferred__A__A1="700")
    with pytest.raises(SnapshotError, match="Could not give .*A1 to the queue"):
        spools.hand_over(one, str(tmp_path / "none"))
    assert set(held(one)) == {"deferred/A/A1"}


def exim_spool(tmp_path: Path, name: str, *messages: str) -> str:
    for directory in ("input/a", "msglog/a"):
        (tmp_path / name / directory).mkdir(parents=True)
    for message in messages:
        for suffix in ("-D", "-H", "-J"):
            (tmp_path / name / f"input/{message}{suffix}").write_text(f"{message}{suffix}")
        (tmp_path / name / f"msglog/{message}").write_text("tried")
    return str(tmp_path / name)


@pytest.mark.parametrize("same_disk", [True, False])
def test_a_message_of_exim_goes_over_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_disk: bool) -> None:
    one, two = exim_spool(tmp_path, "one", "a/A1", "B1"), exim_spool(tmp_path, "two")
    (Path(one) / "input/half-D").write_text("its header is not there yet: it was never accepted")
    (Path(two) / "input/a").rmdir()
    whole, rename, order = {**held(one)}, os.rename, []

    def renamed(file: Path, to: Path) -> None:
        if not same_disk and str(file).startswith(one):
            raise OSError(18, "Invalid cross-device link")
        order.append(to.name)
        rename(file, to)

    monkeypatch.setattr(os, "rename", renamed)
    spools.hand_over(one, two)
    assert set(held(one)) == {"input/half-D"}
    assert held(two) == {path: text for path, text in whole.items() if path != "input/half-D"}
    assert order[:4] == ["B1-D", "B1-J", "B1", "B1-H"], "a message is there when its header is"


LOCK = "import fcntl, os, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, 2, 19); print(flush=True); sys.stdin.read(); "


def test_a_message_that_is_being_delivered_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = exim_spool(tmp_path, "one", "A1"), exim_spool(tmp_path, "two")
    monkeypatch.setattr(spools, "_DELIVERY_S", 0.1)
    with subprocess.Popen([sys.executable, "-c", LOCK, f"{one}/input/A1-D"], stdin=-1, stdout=-1) as delivery:
        assert delivery.stdout and delivery.stdout.readline()
        with pytest.raises(SnapshotError, match="Could not give .*A1-H to the queue"):
            spools.hand_over(one, two)
        assert not held(two)
        delivery.communicate()
    spools.hand_over(one, two)
    assert not held(one)


def test_a_message_that_was_delivered_meanwhile_goes_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = exim_spool(tmp_path, "one", "A1"), exim_spool(tmp_path, "two")
    done = LOCK + "[os.unlink(sys.argv[1][:-1] + part) for part in 'HJD']"
    with subprocess.Popen([sys.executable, "-c", done, f"{one}/input/A1-D"], stdin=-1, stdout=-1) as delivery:
        assert delivery.stdout and delivery.stdout.readline()
        monkeypatch.setattr(spools.time, "sleep", lambda seconds: delivery.communicate() if delivery.poll() is None else None)
        spools.hand_over(one, two)
    assert not any(path.startswith("input") for path in held(two))


# The transaction


def test_a_unit_that_a_change_brings_may_be_missing() -> None:
    (found,) = services.seen(Systemd(), [("exim-out", "start")])  # type: ignore[arg-type]
    assert (found.active, found.enabled) == (False, "disabled"), "which is what it is again when the change is taken back"


def test_a_unit_comes_and_goes_with_its_files_and_its_mail(tmp_path: Path) -> None:
    host = Systemd(postfix=(True, "enabled"), out=(False, "disabled"))
    store, etc = Store(str(tmp_path / "kept")), tmp_path / "etc"
    one, two = queue(tmp_path, "one"), queue(tmp_path, "two")
    units = [("postfix", "reload"), ("out", "start", one, two)]
    begun = journal.begin(store, host, [NewFile(f"{etc}/out/main.cf", b"x = 1\n")], units, "apart")  # type: ignore[arg-type]
    assert begun and host.done == ["reload postfix", "enable out", "restart out"] and (etc / "out/main.cf").exists()
    (Path(one) / "deferred/A/A1").write_text("mail")
    (Path(one) / "deferred/A/A1").chmod(0o700)
    (etc / "out/later").write_text("made by a daemon")
    host.done.clear()
    ended = journal.take_back(store, host, begun.name, "asked for")  # type: ignore[arg-type]
    assert ended.phase == "taken_back" and not etc.exists(), ended.problems
    assert host.done == ["disable out", "stop out", "reload postfix"], "while its files are there"
    assert set(held(two)) == {"maildrop/A1"} and not held(one)


def test_a_unit_that_ends_comes_again_last(tmp_path: Path) -> None:
    host = Systemd(postfix=(True, "enabled"), out=(True, "enabled"))
    one, two = queue(tmp_path, "one", hold__A1="700"), queue(tmp_path, "two")
    store, file = Store(str(tmp_path / "kept")), tmp_path / "main.cf"
    file.write_text("x = 1\n")
    units = [("out", "stop", one, two), ("postfix", "reload")]
    begun = journal.begin(store, host, [NewFile(str(file), None)], units, "together")  # type: ignore[arg-type]
    assert begun and host.done == ["disable out", "stop out", "reload postfix"] and set(held(two)) == {"hold/A1"}
    host.done.clear()
    journal.take_back(store, host, begun.name, "asked for")  # type: ignore[arg-type]
    assert host.done == ["reload postfix", "enable out", "restart out"], "it needs ports that the other has until then"
    assert services.seen(host, [("out", "stop")])[0].active  # type: ignore[arg-type]
