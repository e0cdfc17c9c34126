"""Controls on what checks the passwords of those who log in: it says no to somebody whom nobody knows."""

from __future__ import annotations

from collections.abc import Iterator

from ..control import Site, control
from ..finding import HOST, Evidence, Finding, Method, fail, notapplicable, passed, unknown
from ..readers.system import Host


@control("AUTH-04", "os")
def nobody_gets_in_with_any_password(host: Host, site: Site) -> Iterator[Finding]:
    checks = host.login_checks
    wide = [Evidence(Method.CONFIG, each.where, each.open) for each in checks if each.open]
    doubts = [f"{each.program}, {each.where}: {each.doubt}" for each in checks if each.doubt]
    if wide:
        yield fail(HOST, f"a login needs no right password: {wide[0].where}: {wide[0].text}", *wide)
    elif not checks:
        yield notapplicable(HOST, "nobody logs in here", "no mail program of this host asks for a password")
    elif doubts:
        yield unknown(HOST, "whether a wrong password is refused is not known", doubts[0])
    else:
        programs = ", ".join(dict.fromkeys(each.program for each in checks))
        yield passed(HOST, f"a name that nobody has is refused, and so is a wrong password ({programs})")
