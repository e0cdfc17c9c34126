"""One step on the way of mail for a mailbox of ours: which table, alias, router or rule each mail program sends it on by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional, Protocol

from ..control import Site
from ..readers import exim_tables
from ..readers.exim import Exim
from ..readers.exim_expand import Doubt as EximDoubt
from ..readers.local_users import NOBODY
from ..readers.opensmtpd import OpenSmtpd
from ..readers.opensmtpd_syntax import Rule
from ..readers.opensmtpd_tables import Doubt as SmtpdDoubt
from ..readers.opensmtpd_tables import Table as SmtpdTable
from ..readers.opensmtpd_tables import file_entries, found_in
from ..readers.postfix import Postfix
from ..readers.postfix_match import is_table
from ..readers.postfix_model import REWRITING_MAPS
from ..readers.postfix_recipients import kind_of, was_asked
from ..readers.postfix_syntax import words
from ..readers.postfix_tables import Table, TableProblem
from ..readers.role_mail import RoleMail, alias_maps
from ..readers.sendmail import Sendmail
from .exim_routes import Routed, route
from .relay_walk import Walk

_LOCAL_PART_IN = re.compile(r"\{\s*\$\{?local_part\}?\s*\}\s*lsearch[*@]*\s*\{\s*(/[^\s$}]+)\s*\}")


class Unclear(Exception):
    """The next step cannot be known, and why."""


@dataclass(frozen=True)
class Step:
    """What the program does with an address: `targets` in the words of aliases(5), or the mailbox of `account`, or nothing of
    both: `lost` says why. `where` and `text`: what decided. `kept`: a mailbox that is none of the system's accounts; `away`: it
    goes to another host. `table` and `key`: the entry that sends it on, or would if it were there; empty where none would."""

    where: str
    text: str
    targets: tuple[str, ...] = ()
    account: str = ""
    kept: bool = False
    away: bool = False
    lost: str = ""
    table: str = ""
    key: str = ""


class Program(Protocol):
    """A mail program as far as this is concerned."""

    def domains(self, site: Site) -> list[str]:
        """The domains whose mail ends here."""

    def is_local(self, domain: str) -> bool:
        """Whether mail for the domain is delivered, rather than passed on."""

    def step(self, address: str) -> Step:
        """Raises Unclear."""


def program(title: str, instance: Any, roles: RoleMail) -> Optional[Program]:
    """None for what takes no mail for domains, or could not be read."""
    if title not in _PROGRAMS or instance.problem:
        return None
    made: Program = _PROGRAMS[title](instance, roles)
    return made


class OfPostfix:
    """cleanup(8) rewrites, trivial-rewrite(8) tells the domain's class, local(8) follows aliases."""

    def __init__(self, postfix: Postfix, roles: RoleMail) -> None:
        self._postfix, self._roles, self._main = postfix, roles, postfix.main
        self._walk = Walk(postfix.main, postfix.main)
        self._origin = (words(postfix.main.value("myorigin")) or [postfix.main.value("myhostname")])[0]

    def domains(self, site: Site) -> list[str]:
        own = list(dict.fromkeys((*site.local_domains, *self._postfix.local_domains)))
        return [domain for domain in own if self.is_local(domain)]

    def is_local(self, domain: str) -> bool:
        return self._class_of(domain) in ("mydestination", "virtual_alias_domains", "virtual_mailbox_domains")

    def _class_of(self, domain: str) -> str:
        found = self._walk.accepts(f"{NOBODY}@{domain}")
        if found and found.doubt:
            raise Unclear(found.doubt)
        return found.parameter if found else ""

    def step(self, address: str) -> Step:
        local_part, _, domain = address.rpartition("@")
        try:
            for name in REWRITING_MAPS:
                found = self._rewritten(name, local_part, domain)
                if found is not None:
                    return found
            kind = self._class_of(domain)
            if kind == "mydestination":
                return self._local(local_part, address)
            if kind == "virtual_mailbox_domains":
                return self._virtual(address, f"@{domain}")
            if kind == "virtual_alias_domains":
                missing = "no entry in virtual_alias_maps"
                return Step("virtual_alias_maps", address, lost=missing, table=self._first("virtual_alias_maps"), key=address)
        except TableProblem as exc:
            raise Unclear(str(exc)) from None
        return Step(self._main.origin("mydestination"), domain, lost=f"{domain} is no domain of this host")

    def _rewritten(self, name: str, local_part: str, domain: str) -> Optional[Step]:
        """mail_addr_find(): the address, its local part alone where the domain is the host's own, `@domain`."""
        own = domain == self._origin.lower() or self._class_of(domain) == "mydestination"
        address = f"{local_part}@{domain}"
        for key in (address, *((local_part,) if own else ()), f"@{domain}"):
            for table, value in self._values(name, key):
                targets = _commas(value)
                targets = [f"{local_part}{t}" if t.startswith("@") else self._whole(t) for t in targets]
                # What leads to itself stays as it is.
                found = Step(table.where(key), f"{key} {value}", tuple(targets), table=table.spec, key=key)
                return None if address in targets else found
        return None

    def _whole(self, target: str) -> str:
        return target if "@" in target or not target[:1].isalnum() else f"{target}@{self._origin}"

    def _values(self, name: str, key: str) -> Iterator[tuple[Table, str]]:
        for spec in (word for word in words(self._main.value(name)) if is_table(word) and kind_of(word) != "unix"):
            table = self._postfix.recipients.get(spec) or Table(spec, kind_of(spec), problem=f"{spec} was not read")
            value = table.get(key)
            if value is None and table.sampled and not was_asked(self._postfix, key):
                raise TableProblem(f"{spec} cannot be listed, and was not asked for {key}")
            if value is not None:
                yield table, value

    def _local(self, local_part: str, address: str) -> Step:
        transport = self._main.value("local_transport")
        if transport and not transport.startswith("local:"):
            found = next(self._values("local_recipient_maps", address), None) or next(
                self._values("local_recipient_maps", local_part), None
            )
            if found:
                return Step(found[0].spec, address, kept=True)
            raise Unclear(f"local_transport is {transport}: which mailboxes it has is not known")
        for table, value in self._values("alias_maps", local_part):
            text = f"{local_part}: {value}"
            return Step(table.where(local_part), text, tuple(_commas(value)), table=table.spec, key=local_part)
        known = local_part in self._roles.users.homes
        elsewhere = self._main.value("mailbox_transport")
        if not known and elsewhere:
            listed = next(self._values("local_recipient_maps", local_part), None)
            if listed:
                return Step(listed[0].spec, address, kept=True)
            raise Unclear(f"mailbox_transport is {elsewhere}: which mailboxes it has is not known")
        catcher = self._main.value("luser_relay")
        if not known and catcher and "$" not in (self._main.raw("luser_relay") or ""):
            return Step(self._main.origin("luser_relay"), catcher, (catcher,))
        return Step(self._main.origin("alias_maps"), f"no alias {local_part}", account=local_part,
                    table=self._first("alias_maps"), key=local_part)  # fmt: skip

    def _first(self, name: str) -> str:
        """The first table of a parameter."""
        return next((word for word in words(self._main.value(name)) if is_table(word)), "")

    def _virtual(self, address: str, catch_all: str) -> Step:
        maps = self._main.value("virtual_mailbox_maps")
        if not words(maps):
            raise Unclear("virtual_mailbox_maps is empty: which mailboxes exist is not known")
        for key in (address, catch_all):
            for table, value in self._values("virtual_mailbox_maps", key):
                return Step(table.where(key), value, kept=True)
        return Step(self._main.origin("virtual_mailbox_maps"), maps, lost=f"no mailbox {address} in virtual_mailbox_maps",
                    table=self._first("virtual_alias_maps"), key=address)  # fmt: skip


class OfExim:
    """The routers, in their order."""

    def __init__(self, exim: Exim, roles: RoleMail) -> None:
        self._exim = exim

    def domains(self, site: Site) -> list[str]:
        return list(dict.fromkeys(self._exim.local_domains))

    def is_local(self, domain: str) -> bool:
        return domain in self._exim.local_domains

    def step(self, address: str) -> Step:
        try:
            found = route(self._exim, address)
        except EximDoubt as exc:
            raise Unclear(str(exc)) from None
        where, local_part = f"{self._exim.file} router {found.router}", address.rpartition("@")[0]
        path = self._holding(found.target, local_part) if found.target and found.router else self._aliases()
        if found.answer is Routed.REFUSED:
            lost = found.target if found.router else "no router takes it"
            return Step(f"{self._exim.file} routers", address, lost=lost, table=path, key=local_part)
        if found.target:
            text = f"{path}: {local_part}: {found.target}" if path else found.target
            return Step(where, text, tuple(_commas(found.target)), table=path, key=local_part)
        if found.answer is Routed.ELSEWHERE:
            return Step(where, address, away=True)
        if "check_local_user" in self._exim.config.routers.get(found.router, {}):
            return Step(where, address, account=local_part, table=path, key=local_part)
        return Step(where, address, kept=True)

    def _holding(self, target: str, local_part: str) -> str:
        """The file that an alias stands in; empty where that is not known."""
        for path in self._exim.routing:
            try:
                if exim_tables.lookup(self._exim.routing, "lsearch", path, local_part) == target:
                    return path
            except EximDoubt:
                continue
        return ""

    def _aliases(self) -> str:
        """The file that a router looks the local part up in."""
        routers = (options for options in self._exim.config.routers.values() if options.get("driver") == "redirect")
        found = (_LOCAL_PART_IN.search(options.get("data", "")) for options in routers)
        return next((match[1] for match in found if match), "")


class OfSendmail:
    """The map of virtual users, then the alias files, for the domains of class w."""

    def __init__(self, sendmail: Sendmail, roles: RoleMail) -> None:
        self._sendmail, self._roles = sendmail, roles

    def domains(self, site: Site) -> list[str]:
        hosted = [d.lower() for d in self._sendmail.classes.get("{VirtHost}", ()) if "." in d]
        return list(dict.fromkeys([*self._sendmail.local_domains, *hosted]))

    def is_local(self, domain: str) -> bool:
        return domain in self.domains(Site()) or domain == "localhost"

    def step(self, address: str) -> Step:
        local_part, _, domain = address.rpartition("@")
        virtual = self._sendmail.cf.maps.get("virtuser")
        if virtual is not None:
            table = self._entries(virtual.kind, virtual.path, "")
            for key in (address, f"@{domain}"):
                if key in table and table[key] != address:
                    targets = (table[key].replace("%1", local_part),)
                    lost = table[key] if table[key].startswith(("error:", "|error")) else ""
                    where = f"{virtual.path} {key}"
                    return Step(where, table[key], () if lost else targets, lost=lost, table=virtual.path, key=key)
        if domain not in (*self._sendmail.local_domains, "localhost"):
            return Step(self._sendmail.origin_of_class("w"), domain, lost=f"no entry for {address}",
                        table=virtual.path if virtual is not None else "", key=address)  # fmt: skip
        files = [(kind, path) for kind, path in alias_maps(self._sendmail) if virtual is None or path != virtual.path]
        for kind, path in files:
            table = self._entries(kind, path, ":")
            if local_part in table:
                text = f"{local_part}: {table[local_part]}"
                return Step(path, text, tuple(_commas(table[local_part])), table=path, key=local_part)
        catcher = self._sendmail.cf.macros.get("L", ("", 0))
        if catcher[0] and local_part not in self._roles.users.homes:
            return Step(f"{self._sendmail.file}:{catcher[1]} L", catcher[0], (catcher[0].rpartition(":")[2],))
        return Step(self._sendmail.origin("AliasFile"), f"no alias {local_part}", account=local_part,
                    table=files[0][1] if files else "", key=local_part)  # fmt: skip

    def _entries(self, kind: str, path: str, separator: str) -> dict[str, str]:
        known = self._roles.texts.get(path)
        if known is None or known.problem:
            raise Unclear(known.problem if known else f"{kind}:{path} is not read")
        if known.stale:
            raise Unclear(f"{known.stale}: what Sendmail has is not what the text says; run newaliases or make")
        return _lines(known.text, separator)


class OfOpenSmtpd:
    """The first rule for the domain, strangers' first, and the tables of its action."""

    def __init__(self, smtpd: OpenSmtpd, roles: RoleMail) -> None:
        self._smtpd, self._roles = smtpd, roles

    def domains(self, site: Site) -> list[str]:
        return list(self._smtpd.local_domains)

    def is_local(self, domain: str) -> bool:
        return domain in self._smtpd.local_domains or domain in self._smtpd.local_names

    def step(self, address: str) -> Step:
        """Whom the rule is for counts, not who may come to it: what is refused to strangers is told by other controls."""
        domain = address.rpartition("@")[2]
        rules = [rule for rule in self._smtpd.config.rules if rule.action and self._is_for(rule, domain)]
        rules.sort(key=lambda rule: str(getattr(rule.criterion("from"), "scope", "local")) in ("local", "socket"))
        for rule in rules:
            action = self._smtpd.config.actions.get(rule.action)
            if action is not None and action.relays:
                return Step(rule.where, str(rule), away=True)
            if action is not None:
                return self._by_action(action, rule.where, address)
        return Step(self._smtpd.file, address, lost="no rule takes it")

    def _is_for(self, rule: Rule, domain: str) -> bool:
        """`for any` stands for what is passed on as well: for a domain of ours only where it delivers."""
        criterion = rule.criterion("for")
        if criterion is None or criterion.scope == "local":
            return domain in self._smtpd.local_names
        if criterion.scope == "any":
            action = self._smtpd.config.actions.get(rule.action)
            return action is not None and not action.relays
        if criterion.table is None:
            return False
        try:
            found = found_in(criterion.table, "pattern" if criterion.regex else "domain", domain)
            return (found is not None) is not criterion.negated
        except SmtpdDoubt:
            return False

    def _by_action(self, action: Any, where: str, address: str) -> Step:
        local_part, _, domain = address.rpartition("@")
        if action.virtual is not None:
            # aliases_virtual_get() in aliases.c: the address, the user alone, the domain, then everything.
            for key in (address, local_part, f"@{domain}", "@"):
                value = self._value(action.virtual, key)
                if value is not None:
                    targets = tuple(_commas(value))
                    return Step(f"{action.where} {action.virtual}", f"{key} {value}", targets, table=action.virtual.path, key=key)
            missing = f"no entry for {address}"
            return Step(f"{action.where} {action.virtual}", address, lost=missing, table=action.virtual.path, key=address)
        path = action.aliases.path if action.aliases is not None else ""
        if action.aliases is not None:
            value = self._value(action.aliases, local_part)
            if value is not None:
                return Step(f"{action.where} {action.aliases}", f"{local_part}: {value}", tuple(_commas(value)), table=path,
                            key=local_part)  # fmt: skip
        if action.userbase is not None:
            kept = self._value(action.userbase, local_part) is not None
            lost = "" if kept else f"no user {local_part}"
            return Step(f"{action.where} {action.userbase}", local_part, kept=kept, lost=lost, table=path, key=local_part)
        return Step(where, f"no alias {local_part}", account=local_part, table=path, key=local_part)

    def _value(self, table: SmtpdTable, key: str) -> Optional[str]:
        if table.backend == "file" and table.path:
            known = self._roles.texts.get(table.path)
            if known is None or known.problem:
                raise Unclear(known.problem if known else f"{table.path} was not read")
            return next((value for name, value in file_entries(known.text) if name.lower() == key.lower()), None)
        try:
            return table.value(key)
        except SmtpdDoubt as exc:
            raise Unclear(str(exc)) from None


_PROGRAMS: dict[str, Any] = {"Postfix": OfPostfix, "Exim": OfExim, "Sendmail": OfSendmail, "OpenSMTPD": OfOpenSmtpd}


def _commas(text: str) -> list[str]:
    """The targets of one entry: commas within quotes, and those of a program's words, part nothing."""
    found, word, quoted = [], "", False
    for character in text.strip():
        quoted = quoted is not (character == '"')
        if character == "," and not quoted:
            found.append(word)
            word = ""
        else:
            word += character
    return [each.strip() for each in (*found, word) if each.strip()]


def _lines(text: str, separator: str) -> dict[str, str]:
    """aliases(5), or with white space (an empty separator) the text of a map; a line that begins with white space goes on."""
    found: dict[str, str] = {}
    last = ""
    for line in text.splitlines():
        if line[:1] in (" ", "\t") and last and line.strip():
            found[last] += " " + line.strip()
        elif line.strip() and not line.startswith("#"):
            key, value = (line.split(separator, 1) + [""])[:2] if separator else (line.split(None, 1) + [""])[:2]
            last = key.strip().strip('"').lower()
            found[last] = value.strip()
    return found
