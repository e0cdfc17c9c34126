"""Parse smtpd.conf (smtpd.conf(5)): tables, listeners, actions, filters, and the `match` rules in their order."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from .opensmtpd_lexer import Lexer, SyntaxProblem, Token, written
from .opensmtpd_tables import Table

_LOCAL_ACTIONS = ("mbox", "maildir", "lmtp", "mda", "forward-only", "expand-only")
_SWITCHES = {"proxy-v2": "proxy", "mask-src": "mask_src", "received-auth": "received_auth"}
_WITH_VALUE = ("port", "tag", "hostname", "pki", "ca", "ciphers", "protocols")


@dataclass(frozen=True)
class Criterion:
    """One condition of a rule or a built-in filter. `scope` says what of: for `from` socket, local, any, src or rdns; for `for`
    local, any or domain. Without a table: `any`, `local`, or that there is a login, a name, TLS at all."""

    name: str
    scope: str = ""
    table: Optional[Table] = None
    negated: bool = False
    regex: bool = False

    def __str__(self) -> str:
        words = [f"{'!' * self.negated}{self.name}", self.scope, "regex" * self.regex, str(self.table or "")]
        return " ".join(word for word in words if word)


@dataclass(frozen=True)
class Rule:
    """A `match` rule. `action` is the name of an action, empty for `reject`; `text` is the whole of it, macros written out."""

    criteria: tuple[Criterion, ...]
    action: str
    where: str
    text: str = ""

    def criterion(self, name: str) -> Optional[Criterion]:
        return next((c for c in self.criteria if c.name == name), None)

    def __str__(self) -> str:
        end = f'action "{self.action}"' if self.action else "reject"
        return " ".join(["match", *map(str, self.criteria), end])


@dataclass(frozen=True)
class Action:
    """`kind` is relay for what goes to other servers, else the way of delivery. `virtual` maps recipients to users, `aliases`
    users to others, and `userbase` knows the users that are none of the system's. `host` is where relayed mail goes instead of
    the recipient's servers; `text` is the whole of it."""

    name: str
    kind: str
    where: str = ""
    virtual: Optional[Table] = None
    aliases: Optional[Table] = None
    userbase: Optional[Table] = None
    host: Optional[Table] = None
    text: str = ""

    @property
    def relays(self) -> bool:
        return self.kind == "relay"


@dataclass(frozen=True)
class Filter:
    """`kind` is phase, chain or proc. What a phase does: reject, disconnect, junk, bypass, rewrite or report. `command` is the
    program of a proc."""

    name: str
    kind: str
    where: str
    criteria: tuple[Criterion, ...] = ()
    does: str = ""
    chain: tuple[str, ...] = ()
    command: str = ""


@dataclass(frozen=True)
class Listen:
    """A `listen on` line. `tls` is empty, tls, tls-require or smtps; `auth` empty, auth or auth-optional."""

    on: str
    where: str
    family: str = ""
    port: str = ""
    tag: str = ""
    tls: str = ""
    verify: bool = False
    ca: str = ""
    auth: str = ""
    hostname: str = ""
    logins: Optional[Table] = None
    senders: Optional[Table] = None
    masquerade: bool = False
    proxy: bool = False
    mask_src: bool = False
    received_auth: bool = False
    filters: tuple[str, ...] = ()
    text: str = ""


@dataclass
class Config:
    """Everything that decides about relaying. `files` are those read, by path, the main one first."""

    files: Mapping[str, str] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    listens: list[Listen] = field(default_factory=list)
    actions: dict[str, Action] = field(default_factory=dict)
    filters: dict[str, Filter] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    procs: dict[str, str] = field(default_factory=dict)
    delimiter: str = "+"
    limits: dict[str, int] = field(default_factory=dict)  # what `smtp limit` and `smtp max-message-size` say


TableLoader = Callable[[Table], Table]


def parse(path: str, load: Callable[[str], str], macros: Mapping[str, str], load_table: TableLoader) -> Config:
    """`load` gives a file's text or raises ReadError; `load_table` fills a table that is kept elsewhere. Raises SyntaxProblem."""
    config = Config()
    lexer = Lexer(path, load, macros)
    for line in lexer.lines():
        _Statement(config, line, load_table).read()
    config.files = lexer.files
    return config


class _Statement:
    """One statement, read from left to right."""

    def __init__(self, config: Config, tokens: Sequence[Token], load_table: TableLoader) -> None:
        self._config, self._tokens, self._position, self._load_table = config, tokens, 0, load_table
        self.where = tokens[0].where

    def read(self) -> None:
        keyword = self._next()
        reader = {"table": self._read_table, "listen": self._listen, "action": self._action, "match": self._match,
                  "filter": self._filter, "proc": self._proc}.get(keyword.text if keyword.kind == "word" else "")  # fmt: skip
        if reader is not None:
            reader()
        elif keyword.text == "smtp" and self._takes("sub-addr-delim"):
            self._config.delimiter = self._string()
        elif keyword.text == "smtp" and self._takes("max-message-size"):
            self._limit("max-message-size")
        elif keyword.text == "smtp" and self._takes("limit"):
            while self._position < len(self._tokens):
                self._limit(self._string())

    def _limit(self, name: str) -> None:
        """`35M` as scan_scaled(3) has it."""
        found = re.fullmatch(r"(\d+)([BKMG]?)", self._string().upper())
        if found:
            self._config.limits[name] = int(found.group(1)) * 1024 ** "BKMG".index(found.group(2) or "B")

    # tokens

    def _next(self) -> Token:
        if self._position >= len(self._tokens):
            raise SyntaxProblem(f"{self.where}: the statement ends too early")
        self._position += 1
        return self._tokens[self._position - 1]

    def _takes(self, *texts: str) -> str:
        """The next token's text if it is one of these keywords or signs; it is then taken. A quoted word is none."""
        if self._position < len(self._tokens):
            token = self._tokens[self._position]
            if token.kind in ("word", "sign") and token.text in texts:
                self._position += 1
                return token.text
        return ""

    def _string(self) -> str:
        token = self._next()
        if not token.is_string:
            raise SyntaxProblem(f"{token.where}: '{token.text}' where a name or value belongs")
        return token.text

    def _table(self) -> Table:
        """`<name>`, a list in braces, or a single word."""
        if self._takes("<"):
            name = self._string()
            self._next()
            if name not in self._config.tables:
                raise SyntaxProblem(f"{self.where}: no such table: {name}")
            return self._config.tables[name]
        if self._takes("{"):
            return Table(entries=self._entries(), where=self.where)
        return Table(entries=((self._string(), ""),), where=self.where)

    def _entries(self) -> tuple[tuple[str, str], ...]:
        found = []
        while not self._takes("}"):
            if self._takes(","):
                continue
            key = self._string()
            found.append((key, self._string() if self._takes("=") else ""))
        return tuple(found)

    # statements

    def _read_table(self) -> None:
        name = self._string()
        if self._takes("{"):
            self._config.tables[name] = Table(name, entries=self._entries(), where=self.where)
            return
        source = self._string()
        backend, _, path = ("file", "", source) if source.startswith("/") else source.partition(":")
        self._config.tables[name] = self._load_table(Table(name, backend, path, where=self.where))

    def _action(self) -> None:
        name, kind = self._string(), self._next().text
        tables: dict[str, Table] = {}
        for index in range(self._position, len(self._tokens)):
            word = self._tokens[index].text if self._tokens[index].kind == "word" else ""
            if word in ("virtual", "alias", "userbase") and kind in _LOCAL_ACTIONS or word == "host" and kind == "relay":
                self._position = index + 1
                tables[word] = self._table()
        named = (tables.get("virtual"), tables.get("alias"), tables.get("userbase"), tables.get("host"))
        self._config.actions[name] = Action(name, kind, self.where, *named, text=written(self._tokens))

    def _proc(self) -> None:
        name = self._string()
        self._config.procs[name] = self._string()

    def _match(self) -> None:
        criteria: list[Criterion] = []
        while not self._takes("reject"):
            if self._takes("action"):
                self._add_rule(criteria, self._string())
                return
            criteria += self._criteria()
        self._add_rule(criteria, "")

    def _add_rule(self, criteria: list[Criterion], action: str) -> None:
        names = [c.name for c in criteria]
        if action and action not in self._config.actions:
            raise SyntaxProblem(f"{self.where}: no such dispatcher: {action}")
        # What is not said is `from local for local`.
        implied = [Criterion(name, "local") for name in ("from", "for") if name not in names]
        self._config.rules.append(Rule((*implied, *criteria), action, self.where, written(self._tokens)))

    def _criteria(self) -> list[Criterion]:
        """One option of a rule; `from auth` and the like are two conditions."""
        negated = bool(self._takes("!"))
        name = self._next().text
        if name in ("from", "for"):
            scope = self._next().text
            if scope in ("any", "local", "socket"):
                return [Criterion(name, scope, None, negated)]
            if scope in ("src", "domain", "rdns"):
                return [self._with_table(name, scope, negated, required=scope != "rdns")]
            if scope in ("auth", "mail-from", "rcpt-to"):
                return [Criterion(name, "any"), self._with_table(scope, "", negated, required=scope != "auth")]
            raise SyntaxProblem(f"{self.where}: '{name} {scope}' is not known")
        if name in ("tag", "helo", "mail-from", "rcpt-to", "auth"):
            return [self._with_table(name, "", negated, required=name != "auth")]
        if name == "tls":
            return [Criterion(name, "", None, negated)]
        raise SyntaxProblem(f"{self.where}: '{name}' is not known in a rule")

    def _with_table(self, name: str, scope: str, negated: bool, required: bool) -> Criterion:
        regex = bool(self._takes("regex"))
        if not (required or regex) and not self._table_follows():
            return Criterion(name, scope, None, negated)
        return Criterion(name, scope, self._table(), negated, regex)

    def _table_follows(self) -> bool:
        """Whether an optional table stands here: a keyword is none."""
        if self._position >= len(self._tokens):
            return False
        token = self._tokens[self._position]
        if token.kind == "word":
            return token.text not in _KEYWORDS
        return token.is_string or token.text in ("<", "{")

    def _filter(self) -> None:
        name, kind = self._string(), self._next().text
        if kind == "chain":
            self._next()
            self._config.filters[name] = Filter(name, kind, self.where, chain=tuple(key for key, _ in self._entries()))
        elif kind == "phase":
            self._next()  # the phase itself: what counts is what it looks at
            self._next()
            criteria = []
            while not (does := self._takes("reject", "disconnect", "junk", "bypass", "rewrite", "report")):
                negated = bool(self._takes("!"))
                criteria.append(self._with_table(self._next().text, "", negated, required=False))
            self._config.filters[name] = Filter(name, kind, self.where, tuple(criteria), does)
        else:
            program = self._string()
            command = self._config.procs.get(program, "") if kind == "proc" else program
            self._config.filters[name] = Filter(name, "proc", self.where, command=command)

    def _listen(self) -> None:
        self._next()
        found: dict[str, object] = {"on": self._string(), "where": self.where}
        text = " ".join(token.text for token in self._tokens)
        while self._position < len(self._tokens):
            self._listen_option(found)
        self._config.listens.append(Listen(**found, text=text))  # type: ignore[arg-type]

    def _listen_option(self, found: dict[str, object]) -> None:
        option = self._next().text
        if option in _WITH_VALUE:
            value = self._string()
            if option in ("port", "tag", "ca", "hostname"):
                found[option] = value
        elif option in ("inet4", "inet6"):
            found["family"] = "ipv4" if option == "inet4" else "ipv6"
        elif option in ("tls", "tls-require", "smtps"):
            found.update(tls=option, verify=bool(self._takes("verify")))
        elif option in ("auth", "auth-optional"):
            found.update(auth=option, logins=self._table() if self._table_follows() else None)
        elif option == "senders":
            found["senders"] = self._table()
            found["masquerade"] = bool(self._takes("masquerade"))
        elif option == "hostnames":
            self._table()
        elif option == "filter":
            found["filters"] = tuple(k for k, _ in self._entries()) if self._takes("{") else (self._string(),)
        elif option in _SWITCHES:
            found[_SWITCHES[option]] = True


# The words of parse.y that are never a name without quotes.
_KEYWORDS = frozenset(
    """
    action admd alias any auth auth-optional backup bounce bypass ca cert chain chroot ciphers commit compression connect
    data data-line dhe disconnect domain ehlo encryption expand-only fcrdns filter for forward-only from group helo helo-src
    host hostname hostnames include inet4 inet6 junk key limit listen lmtp local mail-from maildir mask-src masquerade match
    max-deferred max-message-size mbox mda mta mx no-dsn no-verify noop on phase pki port proc proc-exec protocols proxy-v2
    queue quit rcpt-to rdns received-auth recipient regex reject relay report rewrite rset scheduler sender senders smtp
    smtp-in smtp-out smtps socket src srs sub-addr-delim table tag tagged tls tls-require ttl user userbase verify virtual
    warn-interval wrapper
    """.split()
)
