"""Where mail for postmaster and abuse ends, by programs that are thought of: the words of aliases(5), loops, lists, accounts."""

from __future__ import annotations

import pytest
from ansible.module_utils.mtaudit.control import Site
from ansible.module_utils.mtaudit.controls.role_mail import End, _Follow
from ansible.module_utils.mtaudit.controls.role_steps import Step, Unclear
from ansible.module_utils.mtaudit.readers.local_users import LocalUsers
from ansible.module_utils.mtaudit.readers.role_mail import RoleMail, Text

USERS = LocalUsers({"root": "/root", "mail": "/var/mail", "alice": "/home/alice", "nobody": "/"}, "",
                   {"root": 0, "mail": 8, "alice": 1000, "nobody": 65534})  # fmt: skip


class Aliases:
    """A program that knows one domain and an alias file."""

    def __init__(self, aliases: dict[str, tuple[str, ...]]) -> None:
        self._aliases = aliases

    def domains(self, site: Site) -> list[str]:
        return ["here.test"]

    def is_local(self, domain: str) -> bool:
        return domain == "here.test"

    def step(self, address: str) -> Step:
        name = address.partition("@")[0]
        if name == "unclear":
            raise Unclear("nobody answers")
        if name in self._aliases:
            return Step("aliases", name, self._aliases[name])
        return Step("passwd", name, account=name)


def end(
    aliases: dict[str, tuple[str, ...]], texts: dict[str, Text] | None = None, users: LocalUsers = USERS, **more: object
) -> End:
    forward = str(more.pop("forward", ""))
    follow = _Follow(Aliases(aliases), RoleMail((), texts or {}, users, forward), Site(tunables=more))
    return follow.fate("Abuse@Here.test").end


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (("alice",), End.READ), (("root", "alice"), End.READ), (("helpdesk@elsewhere.test",), End.READ), (("\\alice",), End.READ),
        (('"|/usr/bin/tickets --new"',), End.READ), (("/var/mail/alice",), End.READ), (("/srv/complaints",), End.READ),
        (("root",), End.SYSTEM), (("nobody",), End.SYSTEM), (("/var/mail/mail",), End.SYSTEM), (("\\root",), End.SYSTEM),
        (("/dev/null",), End.NOWHERE), (("|/bin/true",), End.NOWHERE), (('"|cat > /dev/null"',), End.NOWHERE),
        ((":blackhole:",), End.NOWHERE), ((":fail: no",), End.NOWHERE), (("error:nouser no",), End.NOWHERE), ((), End.NOWHERE),
        (("gone",), End.NOWHERE), (("unclear",), End.UNKNOWN), (("root", "unclear"), End.UNKNOWN),
        (("unclear", "alice"), End.READ),
    ],
)  # fmt: skip
def test_where_an_alias_ends(targets: tuple[str, ...], expected: End) -> None:
    assert end({"abuse": targets}) is expected


def test_no_alias_and_no_account_is_nowhere() -> None:
    assert end({}) is End.NOWHERE


def test_an_alias_to_itself_is_the_account() -> None:
    assert end({"abuse": ("root",), "root": ("root",)}) is End.SYSTEM
    assert end({"abuse": ("alice",), "alice": ("alice",)}) is End.READ


def test_two_aliases_that_lead_to_each_other_end() -> None:
    assert end({"abuse": ("postmaster",), "postmaster": ("abuse",)}) is End.NOWHERE


def test_a_list_counts_by_its_members() -> None:
    aliases = {"abuse": (":include:/etc/readers",)}
    assert end(aliases, {"/etc/readers": Text("# who\nalice, bob@elsewhere.test\n")}) is End.READ
    assert end(aliases, {"/etc/readers": Text("# nobody\n")}) is End.NOWHERE
    assert end(aliases, {"/etc/readers": Text(":include:/etc/readers\n")}) is End.NOWHERE
    assert end(aliases, {"/etc/readers": Text(problem="Permission denied")}) is End.UNKNOWN
    assert end(aliases) is End.UNKNOWN


def test_roots_mail_is_read_where_somebody_says_so_or_it_is_sent_on() -> None:
    aliases = {"abuse": ("root",)}
    assert end(aliases, read_accounts=("root",)) is End.READ
    assert end(aliases, forward="alice\n") is End.READ
    assert end(aliases, forward="\\root\n") is End.SYSTEM


def test_accounts_of_a_directory_are_not_denied() -> None:
    users = LocalUsers({"root": "/root"}, "accounts may also come from sss", {"root": 0})
    assert end({"abuse": ("bob",)}, users=users) is End.UNKNOWN
