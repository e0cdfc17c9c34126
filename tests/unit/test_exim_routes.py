"""Exim's routers followed for one address, and who has an account."""

from __future__ import annotations

import pytest
from ansible.module_utils.mtaudit.controls.exim_routes import Routed, route
from ansible.module_utils.mtaudit.readers import exim, local_users
from ansible.module_utils.mtaudit.readers.exim_expand import Doubt
from ansible.module_utils.mtaudit.readers.exim_tables import Table
from ansible.module_utils.mtaudit.runner import Replay

HEAD = '# Exim Configuration (4.96)\n# 1 "/etc/exim4/exim.conf"\ndomainlist local_domains = here.test\nbegin routers\n'
ALIASES = "aliases:\n driver = redirect\n domains = +local_domains\n data = ${lookup{$local_part}lsearch{/etc/aliases}}\n"
USERS = "users:\n driver = accept\n domains = +local_domains\n check_local_user\n"
PASSWD = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n"


def read(routers: str, aliases: str = "postmaster: alice\nnobody-here: :fail: gone\n", doubt: str = "") -> exim.Exim:
    found = exim.parse(HEAD + routers, "primary_hostname = mx.here.test\n")
    found.routing = {"/etc/aliases": Table("/etc/aliases", aliases)}
    found.local_users = local_users.LocalUsers(local_users.parse(PASSWD), doubt)
    return found


@pytest.mark.parametrize(("address", "answer"), [
    ("alice@here.test", Routed.HERE), ("postmaster@here.test", Routed.ALIAS), ("nosuch@here.test", Routed.REFUSED),
    ("nobody-here@here.test", Routed.REFUSED), ("alice@there.test", Routed.REFUSED),
])  # fmt: skip
def test_aliases_and_users(address: str, answer: Routed) -> None:
    assert route(read(ALIASES + USERS), address).answer is answer


@pytest.mark.parametrize(("router", "answer"), [
    ("all:\n driver = accept\n domains = +local_domains\n", Routed.HERE),
    ("all:\n driver = redirect\n data = alice\n", Routed.ALIAS),
    ("all:\n driver = redirect\n data = /var/mail/all\n", Routed.HERE),
    ("all:\n driver = manualroute\n route_list = * inner.here.test\n", Routed.ELSEWHERE),
    ("all:\n driver = accept\n no_verify\n", Routed.REFUSED),
    ("all:\n driver = accept\n verify_recipient = false\n", Routed.REFUSED),
    ("all:\n driver = accept\n local_part_prefix = real-\n", Routed.REFUSED),
    ("all:\n driver = accept\n local_parts = root : abuse\n", Routed.REFUSED),
    ("all:\n driver = accept\n condition = ${if eq{$local_part}{root}}\n", Routed.REFUSED),
])  # fmt: skip
def test_routers_that_take_every_address(router: str, answer: Routed) -> None:
    assert route(read(ALIASES + USERS + router), "nosuch@here.test").answer is answer


def test_a_router_that_ends_the_search() -> None:
    stop = "stop:\n driver = redirect\n data =\n no_more\n"
    assert route(read(stop + "all:\n driver = accept\n"), "nosuch@here.test").answer is Routed.REFUSED


@pytest.mark.parametrize("router", ["all:\n driver = queryprogram\n", "all:\n driver = redirect\n file = $home/.forward\n",
                                    "all:\n driver = accept\n require_files = /etc/x\n"])
def test_what_is_not_followed_is_a_doubt(router: str) -> None:
    with pytest.raises(Doubt):
        route(read(router), "nosuch@here.test")


def test_accounts_that_may_be_elsewhere_are_a_doubt() -> None:
    assert route(read(USERS, doubt="accounts may also come from sss"), "alice@here.test").answer is Routed.HERE
    with pytest.raises(Doubt, match="sss"):
        route(read(USERS, doubt="accounts may also come from sss"), "nosuch@here.test")


@pytest.mark.parametrize(("nsswitch", "doubt"), [
    ({"text": "passwd: files systemd\n"}, ""), ({"text": "passwd:  files sss ldap\n"}, "sss, ldap"), ({"error": "missing"}, ""),
    ({"text": "passwd: files [NOTFOUND=return] nis\n"}, "nis"),
])  # fmt: skip
def test_other_sources_of_accounts(nsswitch: dict[str, str], doubt: str) -> None:
    recording = {"read": {"/etc/passwd": {"text": PASSWD + "broken\n+::::::\n"}, "/etc/nsswitch.conf": nsswitch}}
    found = local_users.read(Replay(recording))
    assert dict(found.homes) == {"root": "/root", "alice": "/home/alice"}
    assert doubt in found.doubt and bool(doubt) == bool(found.doubt)


def test_no_passwd_is_a_doubt() -> None:
    assert local_users.read(Replay({"read": {"/etc/passwd": {"error": "Could not read /etc/passwd"}}})).doubt
