"""What an Exim is configured to do: options, lists, ACLs, listeners, and what the files that they name hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from ..address import LOOPBACK, Address, contains, parse_address
from ..listeners import Listener
from .exim_expand import Doubt, Known
from .exim_lists import file_items, network_of
from .exim_syntax import Config, Statement, items, parse_acls
from .exim_tables import Table, lookup
from .local_users import LocalUsers

# Names of services(5) that mail uses.
PORTS = {"smtp": 25, "smtps": 465, "submissions": 465, "urd": 465, "submission": 587}
# What tells the daemon's ports apart for an ACL.
_BY_PORT = re.compile(r"\b(?:received_port|interface_port|interface_address|received_ip_address|tls_in_\w+|tls_cipher)\b")

# Those that have no server side of their own.
_LOGIN_OPTION = re.compile(r"server_(?!advertise_condition|debug_print|mail_auth_condition)")


@dataclass(eq=False)
class Exim:
    """One configuration in use. `command` holds the options of the daemon that runs with it, empty for the default one.

    `sources` maps a named list to where its value was written by a person: Debian's update-exim4.conf.conf. `package` is the
    version of Debian's package, read only where the release alone does not tell what was corrected. `routing` are the tables that
    routers look into, `local_users` the names of the system's users with their homes.
    """

    file: str
    config: Config = field(default_factory=Config)
    options: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    exists: Mapping[str, Optional[bool]] = field(default_factory=dict)
    addresses: tuple[Address, ...] = ()
    command: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    package: str = ""
    package_problem: str = ""
    routing: Mapping[str, Table] = field(default_factory=dict)
    local_users: LocalUsers = LocalUsers()
    primary: Optional[Exim] = None
    problem: str = ""
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def version(self) -> str:
        return self.config.version

    @property
    def helo_name(self) -> str:
        return self.options.get("primary_hostname", "")

    def acl(self, option: str, expanded: str) -> Optional[tuple[Statement, ...]]:
        """The statements of an `acl_smtp_...` option; None when it names none. Raises Doubt for a file that was not read."""
        name = expanded.strip()
        if not name:
            return None
        if name in self.config.acls:
            return self.config.acls[name]
        if name.startswith("/"):
            table = self.tables.get(name)
            if table is None or table.problem:
                raise Doubt(table.problem if table else f"{name} was not read")
            return parse_acls(table.text).get("", ())
        return parse_acls(name.replace(" ", "\n", 1) if "=" in name else name).get("", ())

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Where the daemon listens: -oX, else local_interfaces and daemon_smtp_ports."""
        if "listeners" not in self.memo:
            self.memo["listeners"] = tuple(_listeners(self))
        found: tuple[Listener, ...] = self.memo["listeners"]
        return found

    @property
    def takes_logins(self) -> bool:
        return any(server_side(options) for options in self.config.authenticators.values())

    @property
    def other_options(self) -> list[str]:
        """What to tell the program so that it uses this configuration."""
        return other_options(self.command)

    @property
    def by_port(self) -> bool:
        """Whether anything in the configuration may tell ports apart."""
        texts = [c.value for statements in self.config.acls.values() for s in statements for c in s.conditions]
        texts += [value for name, value in self.options.items() if name.startswith(("acl_", "auth_", "hosts_", "host_"))]
        return any(_BY_PORT.search(text) for text in (*texts, *self.config.lists.values()))

    def known(self) -> Known:
        """What expansions may ask for, apart from the session."""
        names = ("primary_hostname", "qualify_domain", "qualify_recipient", "spool_directory", "exim_path", "version_number")
        variables = {name: self.options.get(name, "") for name in names}
        variables.update(smtp_active_hostname=self.helo_name, config_file=self.file, value="")
        tables = {**self.tables, **self.routing}
        return Known(variables, self.exists, lambda kind, path, key: lookup(tables, kind, path, key))

    def named(self, kind: str, name: str) -> list[str]:
        """The items of a named list, named lists and files within it opened; without expansions, which name nothing."""
        return list(self._flat(kind, self.config.lists.get((kind, name), ""), 0))

    def flat(self, kind: str, text: str) -> list[str]:
        """The same for the text of a list."""
        return list(self._flat(kind, text, 0))

    def _flat(self, kind: str, text: str, depth: int) -> Any:
        for item in items(text) if depth < 10 else ():
            bare = item.lstrip("! \t")
            table = self.tables.get(bare)
            if bare.startswith("+"):
                yield from self._flat(kind, self.config.lists.get((kind, bare[1:]), ""), depth + 1)
            elif table is not None and not table.problem:
                yield from file_items(table.text)
            else:
                yield item

    @property
    def local_domains(self) -> list[str]:
        """The domains that the list `local_domains` names, as Exim's own and Debian's configuration call it."""
        found = self.named("domainlist", "local_domains")
        named = [self.helo_name if item == "@" else item for item in found if not re.search(r"[!*^$;/]", item)]
        return [name.lower() for name in dict.fromkeys(named) if name and name != "localhost" and not name.startswith("@")]

    @property
    def relayed_domains(self) -> list[str]:
        """The domains that the list `relay_to_domains` names."""
        return [i.lower() for i in self.named("domainlist", "relay_to_domains") if i and not re.search(r"[!*^$;/@]", i)]

    @property
    def relaying_hosts(self) -> list[str]:
        """The items of `relay_from_hosts`."""
        return self.named("hostlist", "relay_from_hosts")

    @property
    def offers_tls(self) -> bool:
        """Whether STARTTLS is offered to anybody."""
        return self.options.get("tls_advertise_hosts", "*").strip() not in ("", ":")

    def origin(self, name: str) -> str:
        """Where a named list or an option was written."""
        return self.sources.get(name, f"{self.file} {name}")


def other_options(command: Sequence[str]) -> list[str]:
    """The options of a daemon that choose another configuration than the default: -C and -D."""
    found: list[str] = []
    for option, value in zip(command, (*command[1:], "")):
        if option == "-C":
            found = [option, value, *found]
        elif option.startswith("-D"):
            found.append(option)
    return found


def _listeners(exim: Exim) -> Any:
    interfaces = items(exim.options.get("local_interfaces", "<; ::0 ; 0.0.0.0"))
    ports = items(exim.options.get("daemon_smtp_ports", "smtp"))
    for item in _given(exim.command):
        if "." in item or ":" in item:
            interfaces = [item]
        else:
            ports = [item]
    wrapped = {port_of(port) for port in items(exim.options.get("tls_on_connect_ports", ""))}
    version_6 = exim.options.get("disable_ipv6") != "true"
    binds: dict[int, list[str]] = {}
    for interface in interfaces:
        address, port = interface_of(interface)
        for number in [port] if port else [port_of(p) for p in ports]:
            if number and (version_6 or ":" not in address):
                binds.setdefault(number, []).append(address)
    for port, addresses in sorted(binds.items()):
        yield from _merged(port, addresses, port in wrapped, "daemon")


def _given(command: tuple[str, ...]) -> list[str]:
    """What -oX says: ports, and interfaces (a dot or a colon); a list as the options have it."""
    given = [value for option, value in zip(command, command[1:]) if option == "-oX"]
    return [item for value in given for item in items(value)]


def _merged(port: int, addresses: list[str], wrapped: bool, service: str) -> Any:
    """`*` for what is bound to all addresses, of one family or both; else one listener for each address."""
    families = tuple(name for name, every in (("ipv4", "0.0.0.0"), ("ipv6", "::")) if every in addresses)
    if families:
        yield Listener(port, "*", families, service, wrapped)
    for address in dict.fromkeys(a for a in addresses if a not in ("0.0.0.0", "::")):
        family = ("ipv6",) if ":" in address else ("ipv4",)
        if family[0] not in families:
            yield Listener(port, address, family, service, wrapped, contains(LOOPBACK, parse_address(address)))


def port_of(text: str) -> int:
    text = text.strip()
    return int(text) if text.isdigit() else PORTS.get(text, 0)


def interface_of(item: str) -> tuple[str, int]:
    """`127.0.0.1`, `127.0.0.1.1025`, `[::1]:1025`, `[127.0.0.1].1025`, `::0.25` (specification, "Listening")."""
    bracketed = re.fullmatch(r"\[([^\]]+)\](?:[.:](\d+))?", item)
    if bracketed:
        return _address(bracketed.group(1)), int(bracketed.group(2) or 0)
    address, _, port = item.rpartition(".")
    if port.isdigit() and (address.count(".") == 3 or ":" in address and network_of(item) is None):
        return _address(address), int(port)
    return _address(item), 0


def _address(text: str) -> str:
    network = network_of(text)
    return str(network.network_address) if network else text


def server_side(options: Mapping[str, str]) -> bool:
    """Whether an authenticator takes logins (specification, "Generic options for authenticators")."""
    if options.get("driver") == "plaintext":
        return "server_condition" in options
    return any(_LOGIN_OPTION.match(name) for name in options)
