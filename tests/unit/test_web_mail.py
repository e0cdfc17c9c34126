"""Mail of web applications: who hands it in, what relays for it, and what is shown of the command that PHP sends it with."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.mtaudit.config.exim import AclChange
from ansible.module_utils.mtaudit.config.files import ConfigError
from ansible.module_utils.mtaudit.control import REGISTRY, Site
from ansible.module_utils.mtaudit.controls import every  # noqa: F401 - registers every control
from ansible.module_utils.mtaudit.controls import web as web_control
from ansible.module_utils.mtaudit.controls.web import handed_in
from ansible.module_utils.mtaudit.finding import Finding
from ansible.module_utils.mtaudit.fix import FIXES
from ansible.module_utils.mtaudit.fixes import every as fixes  # noqa: F401 - registers every fix
from ansible.module_utils.mtaudit.listeners import Listener, Server
from ansible.module_utils.mtaudit.readers import accounts, exim, packet_filter, php, postfix, web
from ansible.module_utils.mtaudit.readers.exim_model import Exim
from ansible.module_utils.mtaudit.readers.exim_syntax import parse_acls
from ansible.module_utils.mtaudit.readers.packet_filter import Packet, PacketFilter
from ansible.module_utils.mtaudit.readers.php import Place, Value
from ansible.module_utils.mtaudit.readers.system import Host
from ansible.module_utils.mtaudit.readers.web import Handed, Web
from ansible.module_utils.mtaudit.runner import Completed, FileStat, Replay
from ansible.module_utils.mtaudit.tunable import Tunable


@pytest.mark.parametrize("password", ["-apWren-Copper", "-ap Wren-Copper", "--pass=Wren-Copper", "Wren-Copper"])
def test_no_password_on_the_command_line_is_shown(password: str) -> None:
    values = {"sendmail_path": Value(f"/usr/sbin/ssmtp -t -auwww {password}", "/etc/php/8.2/fpm/php.ini:1")}
    host = Host(web=Web(places=[Place("8.2", "fpm", "www", "www-data", values)]))
    (finding,) = REGISTRY[("WEB-02", "os")].evaluate(host, Site())
    assert finding.status.value == "fail" and "sendmail_path = /usr/sbin/ssmtp -t" in finding.message
    assert "Wren" not in str(finding.to_dict())


ACCOUNTS = accounts.parse("www-data:x:33:33::/:/x\nshop:x:998:998::/:/x\n", "www-data:x:33:\nsmmsp:x:120:shop\nmail:x:8:shop\n")
OF_33 = "deny condition = ${if eq{$caller_uid}{33}}"


def exim_with(acls: str, **options: str) -> Exim:
    """What asks these ACLs, each by the option of its name."""
    named = {name: name for name in parse_acls(acls) if name}
    usual = {"acl_smtp_rcpt": "rcpt", **named, **options}
    config = f"# Exim Configuration (4.98)\nhostlist relays = 127.0.0.1\nbegin acl\nrcpt:\naccept hosts = :\n{acls}\n"
    return exim.parse(config, "\n".join(f"{name} = {value}" for name, value in usual.items()), "/etc/exim4/exim.conf")


def handed_to(given: Exim, account: str = "www-data", **stat: Any) -> Handed:
    found = FileStat(**{"uid": 0, "gid": 0, "mode": 0o4755, "size_bytes": 0, "mtime_ns": 0, "kind": "file", **stat})
    runner = SimpleNamespace(resolve=lambda path: path, stat=lambda path: found)
    handed = web._handed(SimpleNamespace(runner=runner), {"Exim": given}, ACCOUNTS, account)
    (judged,) = handed_in(Web(handed=[handed], exims=[given]))
    return judged


@pytest.mark.parametrize(
    ("acls", "allowed", "told"),
    [
        ("", True, "sendmail: no ACL is asked"),
        (f"acl_not_smtp:\n{OF_33}\naccept\n", True, "sendmail -bs: accept hosts = :"),
        (f"acl_smtp_connect:\n{OF_33}\naccept\n", True, "sendmail: no ACL is asked"),
        (f"acl_not_smtp:\n{OF_33}\naccept\nacl_smtp_connect:\n{OF_33}\naccept\n", False, OF_33),
        # The result of this one is ignored; what it sets is not
        (f"acl_not_smtp_start:\n{OF_33}\naccept\nacl_smtp_mail:\n{OF_33}\naccept\n", True, "sendmail: no ACL is asked"),
        ("acl_not_smtp_start:\naccept set acl_m_who = $caller_uid\nacl_not_smtp:\ndeny condition = ${if eq{$acl_m_who}{33}}\n"
         f"accept\nacl_smtp_mail:\n{OF_33}\naccept\n", False, "acl_m_who"),
        (f"acl_not_smtp:\n{OF_33}\naccept\nacl_smtp_data:\n{OF_33}\naccept\n", False, OF_33),
        # What is said of the caller by another name
        ("acl_not_smtp:\ndeny condition = ${if eq{$originator_uid}{33}}\nacl_smtp_connect:\n"
         "deny condition = ${if eq{$sender_ident}{www-data}}\n", False, "$originator_uid"),
        # What he chooses himself keeps him out of nothing
        (f"acl_not_smtp:\ndeny senders = www-data@*\naccept\nacl_smtp_connect:\n{OF_33}\naccept\n", True, "sendmail: accept"),
        (f"acl_not_smtp:\naccept senders = news@*\n{OF_33}\naccept\nacl_smtp_connect:\n{OF_33}\naccept\n", None, "senders"),
        (f"acl_not_smtp:\ndeny condition = ${{if eq{{$h_to:}}{{x}}}}\naccept\nacl_smtp_connect:\n{OF_33}\n", None, "h_to"),
        (f"acl_not_smtp:\ndeny condition = ${{run{{/bin/x}}}}\naccept\nacl_smtp_connect:\n{OF_33}\naccept\n", None,
         "exim.conf acl_not_smtp, statement 1: condition = ${run{/bin/x}}: '${run{/bin/x}}' is not evaluated"),
    ],
)
def test_who_hands_in_mail_to_exim(acls: str, allowed: bool | None, told: str) -> None:
    handed = handed_to(exim_with(acls))
    assert (handed.allowed, told in (handed.reason or handed.text)) == (allowed, True), handed
    if acls.count(OF_33) == 2 and allowed is False:
        assert handed_to(exim_with(acls), "shop").allowed


@pytest.mark.parametrize(
    ("condition", "option", "allowed"),
    [("eq{$caller_uid}{33}", "", False), ("eq{$caller_uid}{33}", "www-data", False), ("eq{$sender_ident}{www-data}", "", False),
     ("eq{$sender_ident}{www-data}", "uucp : www-data", None), ("eq{$authenticated_id}{www-data}", "33", None)],
)  # fmt: skip
def test_what_a_trusted_user_says_of_itself_keeps_nobody_out(condition: str, option: str, allowed: bool | None) -> None:
    statement = f"deny condition = ${{if {condition}}}\naccept\n"
    acls = f"acl_not_smtp:\n{statement}acl_smtp_connect:\n{statement}"
    assert handed_to(exim_with(acls, trusted_users=option)).allowed is allowed


def test_a_trusted_user_says_where_it_comes_from() -> None:
    acls = f"acl_not_smtp:\n{OF_33}\naccept\nacl_smtp_connect:\ndeny hosts = :\n{OF_33}\naccept\n"
    assert handed_to(exim_with(acls, trusted_groups="mail"), "shop").allowed
    assert handed_to(exim_with(acls.replace("{33}", "{998}"), trusted_groups="mail"), "shop").allowed is False
    only = f"acl_not_smtp:\n{OF_33}\naccept\nacl_smtp_connect:\ndeny hosts = :\naccept\nacl_smtp_rcpt:\naccept hosts = +relays\n"
    assert handed_to(exim_with(only)).allowed is False, "no host is no host of a list"
    assert handed_to(exim_with(only, trusted_users="www-data")).allowed is None
    logins = f"acl_not_smtp:\n{OF_33}\naccept\nacl_smtp_mail:\ndeny !authenticated = *\naccept\n"
    assert handed_to(exim_with(logins)).allowed is False
    assert handed_to(exim_with(logins, trusted_users="www-data")).allowed is None, "-oMaa names an authenticator"


@pytest.mark.parametrize(
    ("account", "stat", "allowed"),
    [("www-data", {"mode": 0o4750}, False), ("shop", {"mode": 0o2750, "gid": 120}, True),
     ("www-data", {"mode": 0o2775, "acl": (("user", 33, 0),)}, False),
     ("shop", {"mode": 0o2775, "acl": (("user", 33, 0),)}, True),
     ("shop", {"mode": 0o2775, "acl": (("group", 120, 0),)}, False)],
)  # fmt: skip
def test_who_may_run_sendmail(account: str, stat: dict[str, Any], allowed: bool) -> None:
    assert handed_to(exim_with(""), account, **stat).allowed is allowed


@pytest.mark.parametrize(("mode", "allowed"), [(0o666, True), (0o660, False)])
def test_the_socket_of_opensmtpd_is_what_everybody_uses(mode: int, allowed: bool) -> None:
    socket, program = FileStat(0, 0, mode, 0, 0, "socket"), FileStat(0, 120, 0o2750, 0, 0, "file")
    stats = {"/run/smtpd.sock": socket, "/usr/sbin/sendmail": program}
    runner = SimpleNamespace(resolve=lambda path: path, stat=stats.get)
    assert web._handed(SimpleNamespace(runner=runner), {"OpenSMTPD": SimpleNamespace()}, ACCOUNTS, "www-data").allowed is allowed


REFUSED = "deny\n  condition = ${if eq{$caller_uid}{33}}\n  message = www-data may hand in no mail without a login"


def kept_out(handed: Handed, *exims: Exim, program: str = "exim") -> Any:
    found = Host(web=Web(handed=[handed], exims=exims, filter=PacketFilter(closed=frozenset({(handed.account, 25)}))))
    site = Site(servers={program: (Server("1", "/etc/exim4/exim.conf"),)})
    return FIXES[("WEB-01", "os")].propose(found, site, [])


HANDS_IN = Handed("www-data", None, "/usr/sbin/sendmail", uid=33, trusted=False)


def test_exim_is_told_who_hands_in_nothing() -> None:
    live = exim_with("acl_smtp_connect:\naccept hosts = :\n")
    found = kept_out(HANDS_IN, live)
    assert found["os"].kept_out == ("www-data",)
    wanted = found["exim"](live)
    assert wanted.acls == {"acl_mtaudit_not_smtp": f"{REFUSED}\naccept"}
    assert wanted.options == {"acl_not_smtp": "acl_mtaudit_not_smtp"}
    assert wanted.statements == (AclChange("acl_smtp_connect", old=REFUSED),
                                 AclChange("acl_smtp_connect", new=REFUSED, before="accept\nhosts = :"))  # fmt: skip
    # Another fix made an ACL of that name meanwhile: it keeps its statements.
    by_then = exim_with("acl_mtaudit_not_smtp:\naccept\n", acl_not_smtp="acl_mtaudit_not_smtp")
    assert "acl_mtaudit_not_smtp" not in found["exim"](by_then).acls


def test_an_acl_without_a_name_is_left_alone() -> None:
    live = exim_with("", acl_not_smtp="/etc/exim4/callers")
    found = kept_out(HANDS_IN, exim_with(""))
    with pytest.raises(ConfigError, match="Could not change acl_not_smtp: its ACL stands in the option or a file"):
        found["exim"](live)
    with pytest.raises(ConfigError, match="ldap-user .* is not in /etc/passwd"):
        kept_out(replace(HANDS_IN, account="ldap-user", uid=-1), live)


@pytest.mark.parametrize(("program", "why"), [("sendmail", "setfacl -m u:www-data:---"), ("opensmtpd", "InaccessiblePaths="),
                                              ("other", "has no list")])  # fmt: skip
def test_what_cannot_keep_them_out_says_what_can(program: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        kept_out(Handed("www-data", True, "/usr/sbin/sendmail", "mode 2755", uid=33), program=program)


OPEN, CLOSED = PacketFilter(), PacketFilter(closed=frozenset({("www-data", 25)}))


def said(stops: PacketFilter, *servers: tuple[str, Server]) -> Finding:
    """What WEB-01 says of a pool whose account may not run sendmail(1)."""
    place, handed = Place("8.2", "fpm", "www", "www-data"), Handed("www-data", False, "/usr/sbin/sendmail", uid=33)
    host = Host(web=Web(places=[place], handed=[handed], filter=stops))
    (finding,) = REGISTRY[("WEB-01", "os")].evaluate(host, Site(servers={name: (server,) for name, server in servers}))
    return finding


@pytest.mark.parametrize(
    ("program", "trusted", "relays"),
    [
        ("postfix", "127.0.0.0/8", True),
        ("postfix", "198.51.100.7/32", False),
        ("exim", "198.51.100.7/32", False),
        ("opensmtpd", "198.51.100.7/32", True),  # `from local` is no network
        ("sendmail", "198.51.100.7/32", True),  # so is what Sendmail finds out for itself
    ],
)
def test_where_loopback_relays(program: str, trusted: str, relays: bool) -> None:
    ports = tuple(Listener(port, "*") for port in (25, 587, 10025))
    server = (program, Server("1.0", "/etc/program", listeners=ports, trusted=(ip_network(trusted),)))
    assert said(OPEN, server).message.endswith("www-data to port 25 of others")
    finding = said(CLOSED, server)
    assert finding.status.value == ("fail" if relays else "pass")
    assert finding.message.endswith("www-data to port 10025 of this host") is relays, "submission is AUTH-03's"
    assert said(replace(CLOSED, closed=CLOSED.closed | {("www-data", 10025)}), server).status.value == "pass"


@pytest.mark.parametrize(
    ("everywhere", "there", "relays"),
    [("198.51.100.7", "-o mynetworks=127.0.0.0/8", True), ("127.0.0.0/8", "-o mynetworks=198.51.100.7", False),
     ("127.0.0.0/8", "", True), ("198.51.100.7", "", False)],
)  # fmt: skip
def test_each_port_of_postfix_has_networks_of_its_own(everywhere: str, there: str, relays: bool) -> None:
    settings = f"inet_interfaces = all\ninet_protocols = all\nmynetworks = {everywhere}\n"
    master = f"127.0.0.1:10025 inet n - n - - smtpd {there}\n"
    server = postfix.describe(postfix.parse("/etc/postfix", settings, master, settings, master))
    finding = said(CLOSED, ("postfix", server))
    assert finding.message.endswith("www-data to port 10025 of this host") is relays


@pytest.mark.parametrize(
    ("statement", "relays"),
    [("accept hosts = +relays", [25, 10025]), ("accept hosts = +relays\ncondition = ${if eq{$received_port}{10025}}", [10025]),
     ("accept hosts = 127.0.0.1\ncondition = ${if eq{$interface_port}{25}}", [25]), ("deny hosts = +relays\naccept", []),
     ("deny hosts = +relays\ncondition = ${run{/bin/x}}\naccept", [25, 10025])],
)  # fmt: skip
def test_each_port_of_exim_asks_its_acls(statement: str, relays: list[int]) -> None:
    """Where they are not understood, the networks say."""
    given = exim_with(f"acl_smtp_rcpt:\n{statement}\n", local_interfaces="0.0.0.0", daemon_smtp_ports="25 : 587 : 10025")
    given.config.lists[("hostlist", "relay_from_hosts")] = "127.0.0.1"
    found = web_control.ways(Web(handed=[HANDS_IN], exims=[given]), Site(servers={"exim": (exim.describe(given),)}))
    assert [way.port for way in found if way.loopback] == relays


def test_what_filters_is_not_always_known() -> None:
    finding = said(PacketFilter(problem="rules of iptables-legacy are not read"))
    assert (finding.status.value, finding.reason) == ("unknown", "rules of iptables-legacy are not read")


# As nft -j of 1.0.6 lists them.
UID = {"match": {"op": "==", "left": {"meta": {"key": "skuid"}}, "right": {"set": [{"range": [30, 40]}, 998]}}}
PORT = {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": {"set": [25, 465]}}}
LO, OUT = ({"match": {"op": op, "left": {"meta": {"key": "oifname"}}, "right": "lo"}} for op in ("==", "!="))
OLD = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}
ADDRESS = {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": "198.51.100.1"}}
IPV4 = {"match": {"op": "==", "left": {"meta": {"key": "nfproto"}}, "right": "ipv4"}}
IN_A_SET = {"match": {"op": "==", "left": {"meta": {"key": "skuid"}}, "right": "@web"}}
REJECT, ACCEPT, DROP, RETURN = {"reject": {"type": "tcp reset"}}, {"accept": None}, {"drop": None}, {"return": None}
JUMP, GOTO = {"jump": {"target": "own"}}, {"goto": {"target": "own"}}
COUNTER, LIMIT = {"counter": {"packets": 0, "bytes": 0}}, {"limit": {"rate": 1, "per": "second"}}
MARK = {"mangle": {"key": {"meta": {"key": "mark"}}, "value": 5}}
# What iptables-nft writes, as ufw and Docker have it.
CONNTRACK, OWNER, LOG, XT_REJECT = ({"xt": {"type": kind, "name": name}} for kind, name in
                                    (("match", "conntrack"), ("match", "owner"), ("target", "LOG"), ("target", "REJECT")))
OLD_XT = {"xt": None}


def vmap(*verdicts: dict[str, Any]) -> dict[str, Any]:
    listed = [[state, verdict] for state, verdict in zip(("established", "related", "invalid"), verdicts)]
    return {"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": listed}}}


@pytest.mark.parametrize(
    ("rules", "own", "policy", "local", "other"),
    [
        ([], [], "accept", False, False),
        ([], [], "drop", True, True),
        ([[UID, PORT, COUNTER, REJECT]], [], "accept", True, True),
        ([[UID, PORT, COUNTER]], [], "accept", False, False),
        ([[OLD, ACCEPT], [PORT, UID, DROP]], [], "accept", True, True),
        ([[LO, UID, PORT, REJECT]], [], "accept", True, False),
        ([[OUT, UID, PORT, REJECT]], [], "accept", False, True),
        ([[LO, ACCEPT], [UID, PORT, REJECT]], [], "accept", False, True),
        ([[UID, PORT, ADDRESS, REJECT]], [], "accept", None, None),
        ([[UID, PORT, ADDRESS, ACCEPT], [UID, PORT, REJECT]], [], "accept", None, None),
        ([[UID, PORT, ADDRESS, REJECT], [UID, PORT, REJECT]], [], "accept", True, True),
        ([[ADDRESS, ACCEPT]], [], "accept", False, False),
        ([[IN_A_SET, PORT, REJECT]], [], "accept", None, None),
        ([[UID, PORT, LIMIT, REJECT]], [], "accept", None, None),
        ([[IPV4, UID, PORT, REJECT]], [], "accept", True, True),
        ([[UID, JUMP]], [[PORT, REJECT]], "accept", True, True),
        ([[UID, JUMP], [PORT, REJECT]], [[PORT, RETURN], [REJECT]], "accept", True, True),
        ([[UID, GOTO], [PORT, REJECT]], [[PORT, RETURN], [REJECT]], "accept", False, False),
        ([[UID, JUMP]], [[JUMP]], "accept", None, None),
        ([[CONNTRACK, COUNTER, ACCEPT], [LIMIT, COUNTER, LOG], [MARK, ACCEPT], [OLD_XT, ACCEPT]], [], "accept", False, False),
        ([[CONNTRACK, COUNTER, ACCEPT], [UID, PORT, REJECT]], [], "accept", None, None),
        ([[CONNTRACK, COUNTER, DROP]], [], "accept", None, None),
        ([[CONNTRACK, COUNTER, ACCEPT]], [], "drop", None, None),
        ([[PORT, OWNER, COUNTER, XT_REJECT]], [], "accept", None, None),
        ([[COUNTER, OLD_XT]], [], "accept", None, None),
        ([[OUT, CONNTRACK, JUMP]], [[ACCEPT]], "accept", False, False),
        ([[OUT, CONNTRACK, JUMP]], [[PORT, REJECT]], "accept", False, None),
        ([[vmap(ACCEPT, ACCEPT)]], [], "accept", False, False),
        ([[vmap(ACCEPT, JUMP, RETURN)]], [[ACCEPT]], "accept", False, False),
        ([[vmap(ACCEPT, ACCEPT, DROP)]], [], "accept", None, None),
        ([[vmap(JUMP)], [UID, PORT, REJECT]], [[RETURN]], "accept", True, True),
        ([[{"vmap": {"key": {"ct": {"key": "state"}}, "data": "@states"}}]], [], "accept", None, None),
    ],
)
def test_what_stops_a_connection(
    rules: list[Any], own: list[Any], policy: str, local: bool | None, other: bool | None
) -> None:
    table = {"family": "inet", "table": "t"}
    listed = [{"metainfo": {}}, {"chain": {**table, "name": "out", "hook": "output", "policy": policy}},
              {"chain": {**table, "name": "own"}}, {"chain": {**table, "name": "in", "hook": "input", "policy": "drop"}}]
    listed += [{"rule": {**table, "chain": "out", "expr": rule}} for rule in rules]
    listed += [{"rule": {**table, "chain": "own", "expr": rule}} for rule in own]
    found = packet_filter.parse(json.dumps({"nftables": listed}))
    assert [found.stops(Packet("www-data", 33, 25, loopback)) for loopback in (True, False)] == [local, other]
    if rules and rules[-1][0] in (UID, PORT) and rules[-1][1] != OWNER and policy == "accept" and len(rules) == 1 and not own:
        assert [found.stops(Packet("root", 0, 25, loopback)) for loopback in (True, False)] == [False, False]
        assert found.stops(Packet("ldap-user", -1, 25, True)) is (None if rules[-1][-1] != COUNTER else False)


@pytest.mark.parametrize(("rule", "stopped"), [([UID, PORT, REJECT], True), ([UID, PORT, COUNTER], None)])
def test_what_nft_drops_is_stopped_whatever_legacy_has(rule: list[Any], stopped: bool | None) -> None:
    chain = {"family": "inet", "table": "t", "name": "out", "hook": "output"}
    listed = {"nftables": [{"chain": chain}, {"rule": {"family": "inet", "table": "t", "chain": "out", "expr": rule}}]}
    names = FileStat(0, 0, 0o440, 0, 0, "file")
    runner = SimpleNamespace(which="/usr/sbin/{}".format, stat=lambda path: names, read=lambda path: "filter\n",
                             run=lambda argv: Completed(0, json.dumps(listed), ""))  # fmt: skip
    found = packet_filter.read(runner)
    assert found.problem == "rules of iptables-legacy are not read"
    assert found.stops(Packet("www-data", 33, 25, loopback=True)) is stopped


def test_what_is_open_to_ipv6_alone_is_open() -> None:
    listed = [{"chain": {"family": "ip", "table": "t", "name": "out", "hook": "output", "policy": "drop"}}]
    finding = said(packet_filter.parse(json.dumps({"nftables": listed})))
    assert finding.status.value == "fail"


def test_of_two_lines_of_a_pool_the_first_counts() -> None:
    """As php-fpm 8.2 has it: an administrator's before others."""
    lines = ["php_value[sendmail_path] = /v1", "php_admin_value[sendmail_path] = /a1", "php_admin_value[sendmail_path] = /a2",
             "php_value[mail.log] = /v1", "php_value[mail.log] = /v2"]  # fmt: skip
    found = php._own("\n".join(lines), "www.conf [www]", "www")
    assert {name: value.text for name, value in found.items()} == {"sendmail_path": "/a1", "mail.log": "/v1"}


@pytest.mark.parametrize(("lines", "root"), [("chroot = /shop", "/shop"), ("chroot =\nuser = x", ""), ("chroot = ''", "")])
def test_the_root_of_a_pool(lines: str, root: str) -> None:
    texts = {"/etc/php/8.2/fpm/php-fpm.conf": "include=/p/*.conf\n", "/p/shop.conf": f"[shop]\nuser = x\n;chroot = /x\n{lines}\n"}
    runner = Replay({"read": {path: {"text": text} for path, text in texts.items()}, "glob": {"/p/*.conf": ["/p/shop.conf"]}})
    (place,) = php._pools(runner, "8.2", "/etc/php/8.2/fpm", {})
    assert place.chroot == root


LOGIN = {"pool": "www", "login": "shop", "sender": "shop@example.org", "password_file": "/etc/shop/password"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [({}, ""), ({"pool": "a b"}, "pool must be such as www"), ({"login": "a b"}, "login must be"),
     ({"sender": "shop"}, "sender must be"), ({"password_file": 'x" -a'}, "password_file must be"),
     ({"password": "x"}, "dictionaries")],
)  # fmt: skip
def test_logins_of_web_applications(change: dict[str, str], problem: str) -> None:
    said = Tunable("sites", "web_logins", [], "").problem([{**LOGIN, **change}])
    assert problem in said and bool(said) == bool(problem)
