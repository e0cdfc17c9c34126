"""Mail of web applications tells where it comes from."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ..config import postfix
from ..config.files import ConfigError
from ..config.host import Wanted
from ..control import Site
from ..controls.web import ways
from ..finding import Finding
from ..fix import fix
from ..readers.php import Place
from ..readers.system import Host
from .port_wall import closing

_TRACED = {"mail.add_x_header": "On", "mail.log": "syslog"}
_OURS = "zz-mtaudit.ini"  # files of conf.d are read by name: the last one counts


_SUBMITTERS = "authorized_submit_users"


@fix("WEB-01", "os")
def keep_web_accounts_out(host: Host, site: Site, findings: Sequence[Finding]) -> Mapping[str, Any]:
    """Postfix asks a list whose mail it takes from sendmail(1); in front of it they are named as those whose it does not. Ports
    that ask for no login are closed to them."""
    allowed = [handed for handed in host.web.handed if handed.allowed]
    if allowed and _SUBMITTERS not in allowed[0].where:
        raise ConfigError(f"Could not keep {allowed[0].account} from handing in mail: only Postfix has a list of those who may; "
                          "who may run sendmail(1) is also about cron and others, and somebody has to say")  # fmt: skip
    accounts = [handed.account for handed in allowed]
    wanted: dict[str, Any] = {"os": Wanted(kept_out=tuple(accounts)).then(_closed_ports(host, site))}
    if allowed:
        value = ", ".join([*(f"!{account}" for account in accounts), allowed[0].text])
        wanted["postfix"] = postfix.Wanted(parameters={_SUBMITTERS: value})
    return wanted


def _closed_ports(host: Host, site: Site) -> Wanted:
    """Every port to every account where one is open: a rule of ours may be what closes the others."""
    known = list(ways(host.web, site))
    if all(way.stopped for way in known):
        return Wanted()
    return closing(frozenset((way.account, way.port) for way in known), host.web.filter.nft)


@fix("WEB-03", "os")
def name_the_script(host: Host, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """In conf.d of every interface."""
    wanted = Wanted()
    for place in (place for place in host.web.places if place.mails):
        values = {name: value for name, value in _TRACED.items() if place.value(name).text in ("", "0")}
        pools = [name for name in values if "value[" in place.value(name).where]
        if pools:
            raise ConfigError(f"{place} sets {pools[0]} itself ({place.value(pools[0]).where}): take that out of the pool")
        unit = _unit(place)
        if values:
            path = posixpath.join("/etc/php", place.version, place.interface, "conf.d", _OURS)
            wanted = wanted.then(Wanted(php={path: values}, told={unit: "restart"} if unit else {}))
    return wanted if wanted.php else None


def _unit(place: Place) -> str:
    """Who has read the files at its start; programs that are started for each request have none."""
    return {"fpm": f"php{place.version}-fpm", "apache2": "apache2"}.get(place.interface, "")
