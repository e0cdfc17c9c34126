"""Fixes of the host around the programs, asked about recordings of real hosts that fail; and the texts that they change."""

from __future__ import annotations

import asyncio
import fnmatch
import json
import sys
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.components import one, read_all, servers
from ansible.module_utils.mtaudit.config import entries, exim, host, host_files, opensmtpd, postfix, sendmail
from ansible.module_utils.mtaudit.config.files import ConfigError, NewFile
from ansible.module_utils.mtaudit.config.host import Wanted
from ansible.module_utils.mtaudit.config.overlay import Overlay
from ansible.module_utils.mtaudit.control import REGISTRY, Site
from ansible.module_utils.mtaudit.controls.web import Way
from ansible.module_utils.mtaudit.fix import FIXES
from ansible.module_utils.mtaudit.fixes import every  # noqa: F401 - registers every fix
from ansible.module_utils.mtaudit.fixes.port_wall import closing
from ansible.module_utils.mtaudit.fixes.web_mail import _LOG_IN
from ansible.module_utils.mtaudit.listeners import Listener, Server
from ansible.module_utils.mtaudit.readers.accounts import parse
from ansible.module_utils.mtaudit.readers.php import Place
from ansible.module_utils.mtaudit.readers.system import Host, Seen
from ansible.module_utils.mtaudit.readers.uses import SECRET, UsedFile
from ansible.module_utils.mtaudit.readers.web import Handed, Web
from ansible.module_utils.mtaudit.runner import FileStat, LocalRunner, Replay
from ansible.module_utils.mtaudit.tunable import typed
from capture_fixture import restore, site_from
from smtp.fakes import Fake, self_signed

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


def proposed(control: str, name: str, **tunables: Any) -> Wanted | None:
    """What the fix wants of a recorded host."""
    directory = FIXTURES / control / f"fail-os-{name}"
    recording = restore(json.loads((directory / "recording.json").read_text()))
    expected = json.loads((directory / "expect.json").read_text())
    readings = read_all(Replay(recording), expected["programs"], recording.get("ids", ()))
    site = replace(site_from(expected["site"]), servers=servers(readings), rspamd=one(readings, "rspamd"),
                   clamav=one(readings, "clamav"), tunables=tunables)  # fmt: skip
    around = one(readings, "os")
    failing = [f for f in REGISTRY[(control, "os")].evaluate(around, site) if f.status.value == "fail"]
    assert failing
    found: Wanted | None = FIXES[(control, "os")].propose(around, site, failing)
    return found


ABUSE = {"abuse": "postmaster"}
ALIASES = "/etc/aliases"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("abuse-has-no-alias", postfix.Wanted(tables={"hash:/etc/aliases": ABUSE})),
     ("abuse-is-thrown-away", postfix.Wanted(tables={"hash:/etc/aliases": ABUSE})),
     ("abuse-is-a-list-of-nobody", postfix.Wanted(tables={"hash:/etc/aliases": ABUSE})),
     ("role-mail-of-a-virtual-domain",
      postfix.Wanted(tables={"hash:/etc/postfix/virtual": {"abuse@partner.test": "postmaster@partner.test"}})),
     ("exim-abuse-has-no-alias", exim.Wanted(tables={ALIASES: ABUSE})),
     ("exim-abuse-is-thrown-away", exim.Wanted(tables={ALIASES: ABUSE})),
     ("sendmail-abuse-has-no-alias", sendmail.Wanted(aliases={"/etc/mail/aliases": ABUSE})),
     ("opensmtpd-abuse-has-no-alias", opensmtpd.Wanted(tables={ALIASES: ABUSE})),
     ("opensmtpd-abuse-is-thrown-away", opensmtpd.Wanted(tables={ALIASES: ABUSE}))],
)  # fmt: skip
def test_abuse_is_postmasters(name: str, wanted: object) -> None:
    assert proposed("RCPT-02", name) == Wanted(programs={0: wanted})


@pytest.mark.parametrize("name", ["roots-mail-is-nobodys", "exim-roots-mail-is-nobodys", "sendmail-roots-mail-is-nobodys"])
def test_who_reads_roots_mail_somebody_has_to_say(name: str) -> None:
    with pytest.raises(ConfigError, match=r"nobody reads: say in deliver_to"):
        proposed("RCPT-02", name)
    found = proposed("RCPT-02", name, deliver_to="alice, help@elsewhere.test")
    assert found
    (tables,) = (getattr(each, "aliases", None) or each.tables for each in found.programs.values())
    assert list(tables.values()) == [{"postmaster": "alice, help@elsewhere.test", "abuse": "postmaster"}]
    with pytest.raises(ConfigError, match="deliver_to is accounts or addresses"):
        proposed("RCPT-02", name, deliver_to="|/bin/cat")


@pytest.mark.parametrize(
    ("name", "settings"),
    [("log-journal-in-memory", {"Storage": "persistent"}), ("log-journal-limit-of-debian", {"RateLimitIntervalSec": "0"}),
     ("log-limit-of-zero-in-the-unit", {"RateLimitIntervalSec": "0"}), ("log-lines-were-dropped", {"RateLimitIntervalSec": "0"})],
)
def test_journald_keeps_every_line(name: str, settings: dict[str, str]) -> None:
    assert proposed("LOG-03", name) == Wanted(journald=settings)


@pytest.mark.parametrize("name", ["log-discard-before-mail", "log-discard-by-program", "log-discard-of-logins",
                                  "log-rsyslog-stopped", "log-service-from-warning-on"])  # fmt: skip
def test_what_somebody_set_up_stays(name: str) -> None:
    with pytest.raises(ConfigError, match="somebody has to say"):
        proposed("LOG-03", name)


@pytest.mark.parametrize(
    ("name", "tunables", "wanted"),
    [("log-exim-kept-for-ten-days", {}, [30]), ("log-kept-for-four-weeks", {}, [5]),
     ("log-kept-for-four-weeks", {"min_days": 100}, [15]), ("log-copies-for-ever", {"max_days": 60}, [59]),
     ("log-copies-for-ever", {}, None), ("log-rotated-by-size", {}, None), ("log-never-rotated", {}, None),
     ("log-copies-younger-than-told", {}, None), ("log-rotation-not-started", {}, None),
     ("log-journal-deletes-after-a-fortnight", {}, "30day"),
     ("log-journal-deletes-after-a-fortnight", {"min_days": 10, "max_days": 12}, "12day")],
)  # fmt: skip
def test_logs_are_kept_as_long_as_is_wanted(name: str, tunables: dict[str, int], wanted: object) -> None:
    found = proposed("LOG-04", name, **tunables)
    if isinstance(wanted, str):
        assert found == Wanted(journald={"MaxRetentionSec": wanted})
    else:
        assert (list(found.rotations.values()) if found else None) == wanted


CLOSED = frozenset({("www-data", 25)})


def test_postfix_takes_no_mail_of_web_accounts() -> None:
    found: Any = proposed("WEB-01", "web-hands-in")
    assert found["postfix"] == postfix.Wanted(parameters={"authorized_submit_users": "!www-data, static:anyone"})
    assert (found["os"].kept_out, found["os"].closed) == (("www-data",), CLOSED)


def test_port_25_is_closed_to_web_accounts() -> None:
    found: Any = proposed("WEB-01", "web-port-25-open")
    assert (list(found), found["os"].kept_out, found["os"].closed) == (["os"], (), CLOSED)
    rules, unit, follows = (file.content.decode() for file in found["os"].texts.values())
    assert "    meta skuid 33 tcp dport 25 counter reject with tcp reset # www-data\n" in rules
    assert "\nExecStart=/usr/sbin/nft -f /etc/mtaudit/web-mail.nft\n" in unit and "{" not in unit + follows
    # By default it would wait for sysinit.target, and that, with cloud-init, for the network.
    assert all(f"\n{line}\n" in unit for line in ("DefaultDependencies=no", "After=local-fs.target nftables.service",
               "Before=network-pre.target shutdown.target", "Conflicts=shutdown.target"))  # fmt: skip


@pytest.mark.parametrize(("uid", "nft", "why"), [(33, "", "install nftables"), (-1, "/sbin/nft", "shop: it is not in")])
def test_what_no_rule_can_say_is_told(uid: int, nft: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        closing([Way("shop", uid, 25, loopback=False, stopped=False)], nft)


def test_a_pool_that_sets_it_itself_is_overruled_there() -> None:
    found = proposed("WEB-03", "web-pool-overrides")
    assert found and [*found.pools] == ["/etc/php/8.2/fpm/pool.d/www.conf [www]"] and not found.php


LOGIN = {"pool": "www", "login": "shop", "sender": "shop@example.org", "password_file": "/etc/shop/password"}


def logged_in(name: str, *entries: dict[str, str], **tunables: str) -> Any:
    return proposed("WEB-02", name, sites=typed("web_logins", list(entries)), **tunables)


def test_mail_of_a_pool_gets_the_login_that_the_site_names() -> None:
    found = logged_in("web-msmtp-without-auth", LOGIN, submission="mail.example.org:587")
    assert found.pools == {"/etc/php/8.2/fpm/pool.d/www.conf [www]":
                           {"sendmail_path": '"/usr/bin/msmtp -C /etc/mtaudit/web-mail.msmtprc -a www -t"'}}  # fmt: skip
    (file,) = found.texts.values()
    text = file.content.decode()
    assert all(f"\n{line}\n" in text for line in ("host mail.example.org", "tls_certcheck on", "account www", "user shop",
               "from shop@example.org", 'passwordeval "cat /etc/shop/password"'))  # fmt: skip
    assert (found.secrets, found.told) == ((("/etc/shop/password", "www-data"),), {"php8.2-fpm": "restart"})
    (check,) = found.checks
    assert check[:3] == ("runuser", "-u", "www-data") and check[-3:] == ("on", "shop", "/etc/shop/password")


def sites(*pools: str, chroot: str = "", **tunables: str) -> Any:
    """What the fix wants where pools have no login, and `sites` names shop and blog."""
    entries = [{**LOGIN, "pool": pool, "login": pool} for pool in ("shop", "blog")]
    handed = [Handed(pool, True, "/usr/sbin/sendmail") for pool in pools]
    places = [Place("8.2", "fpm", pool, pool, file=f"/etc/{pool}.conf", chroot=chroot) for pool in pools]
    relaying = Server("3.7", "/etc/postfix", listeners=(Listener(10025),), trusted=(ip_network("127.0.0.0/8"),))
    site = Site(servers={"postfix": (relaying,)}, tunables={"sites": typed("web_logins", entries), **tunables})
    return FIXES[("WEB-02", "os")].propose(Host(web=Web(places, handed, wrapper="/usr/bin/msmtp")), site, [])


def test_a_pool_that_is_not_named_stops_no_other() -> None:
    found = sites("www", "shop", "blog", submission="mail.example.org:587")
    assert list(found.pools) == ["/etc/shop.conf [shop]", "/etc/blog.conf [blog]"]
    assert [check[-2] for check in found.checks] == ["shop", "blog"]
    with pytest.raises(ConfigError, match=r"mail of www a login.*mta_web_mail_sites"):
        sites("www", submission="mail.example.org:587")


@pytest.mark.parametrize("port", [25, 10025])
def test_no_login_at_a_port_that_is_closed(port: int) -> None:
    with pytest.raises(ConfigError, match=rf"at mail\.example\.org:{port}: WEB-01 closes port {port}"):
        sites("shop", submission=f"mail.example.org:{port}")


def test_port_465_has_tls_from_the_start() -> None:
    found = sites("shop", submission="mail.example.org:465")
    assert b"\nport 465\ntls on\ntls_starttls off\n" in found.texts["/etc/mtaudit/web-mail.msmtprc"].content
    assert found.checks[0][-5:-2] == ("mail.example.org", "465", "off")


def test_a_pool_with_another_root_has_no_msmtp() -> None:
    with pytest.raises(ConfigError, match=r"its mail\(\) runs in /srv/shop, where msmtp is not"):
        sites("shop", chroot="/srv/shop", submission="mail.example.org:587")


@pytest.mark.parametrize("starttls", ["on", "off"])
@pytest.mark.parametrize(
    ("password", "accepted"),
    [("Wren-Copper\n", True), ("Wren-Copper", True), ("Wren-Copper\nnote\n", True), ("Wren-Copper \n", False),
     ("\nWren-Copper", False)],
)  # fmt: skip
def test_the_check_takes_the_password_that_msmtp_takes(tmp_path: Path, password: str, accepted: bool, starttls: str) -> None:
    (tmp_path / "password").write_text(password)
    tls, words = self_signed(tmp_path), [starttls, "shop", str(tmp_path / "password")]
    server = Fake(tls=tls, implicit_tls=starttls == "off", needs_tls=True, logins={"shop": "Wren-Copper"})

    async def asked() -> int | None:
        await server.start()
        check = await asyncio.create_subprocess_exec(sys.executable, "-I", "-c", _LOG_IN, "127.0.0.1", str(server.port), *words)
        try:
            return await check.wait()
        finally:
            server.stop()

    assert asyncio.run(asked()) == (0 if accepted else 1)


@pytest.mark.parametrize(
    ("name", "entries", "submission", "why"),
    [("web-msmtp-without-auth", (), "", r"mail of www a login.*mta_web_mail_sites"),
     ("web-msmtp-without-auth", ({**LOGIN, "pool": "shop"},), "", "mail of www a login"),
     ("web-msmtp-without-auth", (LOGIN,), "", "nothing here listens on port 587.*mta_web_mail_submission"),
     ("web-msmtp-without-auth", (LOGIN,), "mail.example.org", "is a host and a port"),
     ("web-mail-without-login", (LOGIN,), "", "msmtp is missing")],
)  # fmt: skip
def test_what_a_login_needs_is_told(name: str, entries: tuple[dict[str, str], ...], submission: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        logged_in(name, *entries, submission=submission)


POOL = "[one]\nuser = one\n; php_admin_value[mail.log] = x\n[www]\nuser = www\nphp_admin_flag[mail.log] = off\n"


@pytest.mark.parametrize(
    ("pool", "after"),
    [("www", POOL.replace("php_admin_flag[mail.log] = off", "php_admin_value[mail.log] = syslog")),
     ("one", POOL.replace("[one]\n", "[one]\nphp_admin_value[mail.log] = syslog\n"))],
)  # fmt: skip
def test_a_setting_of_one_pool(tmp_path: Path, pool: str, after: str) -> None:
    path = tmp_path / "www.conf"
    path.write_text(POOL)
    (file,) = host_files.pools(LocalRunner(), {f"{path} [{pool}]": {"mail.log": "syslog"}})
    assert file.content == after.encode()
    path.write_text(after)
    assert host_files.pools(LocalRunner(), {f"{path} [{pool}]": {"mail.log": "syslog"}}) == []
    with pytest.raises(ConfigError, match=r"it has no line \[shop\]"):
        host_files.pools(LocalRunner(), {f"{path} [shop]": {"mail.log": "syslog"}})


def test_a_password_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = tmp_path / "password"
    with pytest.raises(ConfigError, match="is no file"):
        host_files.refuse_open_secrets(LocalRunner(), [(str(path), "root")])


SHOP, WWW = 1001, 33


@pytest.mark.parametrize(
    ("uid", "gid", "mode", "others"),
    [(SHOP, SHOP, 0o400, ""), (SHOP, WWW, 0o400, ""), (SHOP, SHOP, 0o440, ""), (0, SHOP, 0o440, ""), (0, 0, 0o440, ""),
     (SHOP, SHOP, 0o444, "everybody"), (SHOP, WWW, 0o440, "www-data"), (SHOP, 100, 0o440, "bob"),
     (SHOP, 4711, 0o440, "group 4711"), (WWW, SHOP, 0o400, "www-data"), (4711, SHOP, 0o440, "4711")],
)  # fmt: skip
def test_a_password_is_for_its_account_alone(uid: int, gid: int, mode: int, others: str) -> None:
    users = {"root": 0, "www-data": WWW, "shop": SHOP, "bob": 7}
    read = {"/etc/passwd": "".join(f"{name}:x:{number}:{number}::/:/bin/sh\n" for name, number in users.items()),
            "/etc/group": "users:x:100:shop,bob\n"}  # fmt: skip
    stat = {"uid": uid, "gid": gid, "mode": mode, "size_bytes": 1, "mtime_ns": 0, "kind": "file"}
    runner = Replay({"read": {path: {"text": text} for path, text in read.items()}, "stat": {"/p": stat}})
    if others:
        with pytest.raises(ConfigError, match=rf"and {others} may use it \(mode {mode:04o}\): chown shop /p && chmod 400 /p"):
            host_files.refuse_open_secrets(runner, [("/p", "shop")])
    else:
        host_files.refuse_open_secrets(runner, [("/p", "shop")])


TEXT = "# ours\npostmaster:   root\nlist: alice,\n\t# not now: bob\n  carol\n\nABUSE : /dev/null\nabuse: bob"


@pytest.mark.parametrize(
    ("wanted", "after"),
    [({}, TEXT), ({"Postmaster": "root"}, TEXT), ({"list": "alice,  carol"}, TEXT),
     ({"abuse": "postmaster"}, TEXT.replace("ABUSE : /dev/null\nabuse: bob", "abuse: postmaster\n")),
     ({"list": "bob"}, TEXT.replace("list: alice,\n\t# not now: bob\n  carol\n", "list: bob\n\t# not now: bob\n")),
     ({"list": None}, TEXT.replace("list: alice,\n\t# not now: bob\n  carol\n", "\t# not now: bob\n")),
     ({"root": "alice"}, f"{TEXT}\nroot: alice\n"), ({"nobody": None}, TEXT)],
)  # fmt: skip
def test_aliases_are_changed_where_they_stand(wanted: dict[str, str | None], after: str) -> None:
    assert entries.changed(TEXT, wanted, colon=True) == after


def test_a_map_has_blanks() -> None:
    assert entries.changed("a@b.test x\n", {"a@b.test": "y z", "c@d.test": "z"}, colon=False) == "a@b.test\ty z\nc@d.test\tz\n"
    assert entries.entries("a@b.test x\n  y\n", colon=False) == {"a@b.test": "x y"}


@pytest.mark.parametrize("entry", [{"a b": "x"}, {"a:b": "x"}, {"a": "x\ny: z"}, {"#a": "x"}, {"": "x"}, {"a": ""}])
def test_what_is_no_entry_is_refused(entry: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="is no entry of it"):
        entries.refuse("/etc/aliases", entry, colon=True)


@pytest.mark.parametrize(
    ("name", "path"),
    [("log-world-readable", "/var/log/mail.log"), ("log-copy-world-readable", "/var/log/mail.log.1"),
     ("log-journal-world-readable", "/var/log/journal/*/system.journal")],
)  # fmt: skip
def test_nobody_else_reads_logs(name: str, path: str) -> None:
    found = proposed("LOG-05", name)
    assert found
    ((closed, (mode, owner)),) = found.files.items()
    assert fnmatch.fnmatch(closed, path) and (mode, owner) == (0o640, None)


@pytest.mark.parametrize(("mode", "members", "closed"), [(0o664, False, 0o660), (0o664, True, 0o640), (0o640, True, None)])
def test_a_group_of_people_does_not_write_logs(mode: int, members: bool, closed: int | None) -> None:
    accounts = parse("root:x:0:0::/:/bin/sh\nbob:x:1000:1000::/:/bin/sh", f"logs:x:4:{'bob' if members else ''}")
    seen = Seen(UsedFile("/log", SECRET, "a mail log"), "/log", FileStat(0, 4, mode, 0, 0, "file"))
    around = Host(accounts=accounts, log_files=[seen])
    if closed is None:
        with pytest.raises(ConfigError, match="bob may read it; who owns, is listed"):
            FIXES[("LOG-05", "os")].propose(around, Site(), [])
    else:
        assert FIXES[("LOG-05", "os")].propose(around, Site(), []) == Wanted({"/log": (closed, None)})


ROTATE = "/a {\n\tdaily\n\trotate 4 # weeks\n}\n/b\n{\n\tweekly\n}\n"


def test_rotate_is_changed_in_its_stanza_alone(tmp_path: Path) -> None:
    path = tmp_path / "stanza"
    path.write_text(ROTATE)
    (file,) = host_files.rotations(LocalRunner(), {f"{path}:4": 30})
    assert file.content == ROTATE.replace("rotate 4", "rotate 30").encode()
    assert host_files.rotations(LocalRunner(), {f"{path}:4": 4}) == []
    with pytest.raises(ConfigError, match="ends in line 8 has no line that says rotate"):
        host_files.rotations(LocalRunner(), {f"{path}:8": 30})


def test_settings_come_in_their_place_or_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "ours.conf"
    (file,) = host_files.settings(LocalRunner(), str(path), {"Storage": "persistent"}, "[Journal]\n")
    assert (file.content, file.planned_on) == (b"[Journal]\nStorage=persistent\n", "")
    path.write_text("[Journal]\n#Storage=auto\nStorage = none\nX=1")
    (file,) = host_files.settings(LocalRunner(), str(path), {"Storage": "persistent", "Y": "2"}, "")
    assert file.content == b"[Journal]\n#Storage=auto\nStorage=persistent\nX=1\nY=2\n"


def test_a_text_is_new_and_its_unit_is_told(tmp_path: Path) -> None:
    new = NewFile(str(tmp_path / "new"), b"one = 1\n", 0o640, 0, 4, planned_on="")
    check = ("true",)
    wanted = Wanted(texts={new.path: new}, told={"reader": "start"}, checks=(check,))
    made = host.candidate(LocalRunner(), Host(), wanted.then(Wanted(told={"other": "reload"})), tmp_path)
    assert (made.files, made.checks) == ((new,), (check,))
    assert (made.units, made.activate, made.also) == (("reader",), "start", ((("other",), "reload"),))


def test_a_text_that_is_new_can_be_looked_at(tmp_path: Path) -> None:
    path = str(tmp_path / "new")
    seen = Overlay(LocalRunner(), {path: "four"}, lambda argv: argv).stat(path)
    assert seen and (seen.kind, seen.size_bytes, seen.mode) == ("file", 4, 0o644)


def test_open_accounts_of_the_host_are_locked_but_no_others() -> None:
    assert proposed("PASS-04", "password-of-a-default-name", default_names=["scan"]) == Wanted(locked=("scan",))
    assert proposed("PASS-04", "password-empty") == Wanted(locked=("bob",))
    assert proposed("PASS-04", "password-not-asked-by-dovecot") is None


def test_a_locked_account_keeps_what_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shadow = tmp_path / "shadow"
    shadow.write_text("root:*:1:0:9:7:::\nscan:$y$a$b:1:0:9:7:::\nbob::1:0:9:7:::\nalice:!$y$c:1:0:9:7:::\n")
    monkeypatch.setattr(host_files, "SHADOW", str(shadow))
    (new,) = host_files.accounts_changed(LocalRunner(), ["scan", "bob", "alice"], [])
    assert new.content == b"root:*:1:0:9:7:::\nscan:!$y$a$b:1:0:9:7:::\nbob:!:1:0:9:7:::\nalice:!$y$c:1:0:9:7:::\n"
    assert (new.mode, new.uid, new.gid) == (None, None, None) and new.planned_on and new.accounts
    (both,) = host_files.accounts_changed(LocalRunner(), ["scan"], ["scan", "alice", "gone"])
    assert both.content == b"root:*:1:0:9:7:::\nscan:!$y$a$b:0:0:9:7:::\nbob::1:0:9:7:::\nalice:!$y$c:0:0:9:7:::\n"
    changed = Overlay(LocalRunner(), {str(shadow): new.content.decode()}, lambda argv: argv)
    assert changed.piece(str(shadow), 0, 4096) == new.content and changed.piece(str(shadow), 5, 3) == b"*:1"


def test_passwords_of_before_a_day_are_to_be_set_anew() -> None:
    good = {"min_length": 8, "renewed_since": "2100-01-01"}
    assert proposed("PASS-01", "policy-too-short", **good) == Wanted(renewed=("dora",))
    found = proposed("PASS-01", "policy-too-short", renewed_since="2100-01-01", renewed_by=["dora", "eve"], remember=4)
    assert found and found.quality["minlen"] == 12 and (found.renewed, found.remember) == (("dora",), 4)


def test_a_policy_is_asked_of_pwquality() -> None:
    found = proposed("PASS-01", "policy-too-short", min_length=14)
    assert found and found.quality["minlen"] == 14 and "minclass" not in found.quality
    assert proposed("PASS-01", "policy-optional", min_classes=3).quality["minclass"] == 3  # type: ignore[union-attr]
