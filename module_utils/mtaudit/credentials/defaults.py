"""Credentials that vendors ship, each with where it is documented. All of them are public: what a site hands out itself does not
belong here. Code and not a file, for it is sent to the vantage with the code, and so no password is an argument of a task."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

SHELLS = ("ssh", "telnet")
PAGES = ("http",)
FILES = ("ftp",)
DEVICE = (*SHELLS, *FILES, *PAGES)
MAIL = ("smtp", "imap", "pop3", "sieve")
GENERIC = "generic"  # where no vendor is named

_OWASP = "OWASP Web Security Testing Guide, WSTG-ATHN-02, Testing for Default Credentials"


@dataclass(frozen=True)
class Default:
    """One credential of one vendor, at the protocols that it is for."""

    vendor: str
    protocols: tuple[str, ...]
    username: str
    password: str = field(repr=False)
    source: str = ""

    @property
    def id(self) -> str:
        """The same in every run and version; the password is public, and does not show in it all the same."""
        return f"{self.vendor}/{hashlib.sha256(f'{self.username}{chr(0)}{self.password}'.encode()).hexdigest()[:12]}"


DEFAULTS = (
    Default(GENERIC, (*DEVICE, *MAIL), "admin", "admin", _OWASP),
    Default(GENERIC, (*DEVICE, *MAIL), "admin", "password", _OWASP),
    Default(GENERIC, (*DEVICE, *MAIL), "guest", "guest", _OWASP),
    Default(GENERIC, (*SHELLS, *FILES), "root", "root", _OWASP),
    Default(GENERIC, ("snmp",), "", "public", "snmpd.conf of Debian's snmpd; Cisco: SNMP Configuration Guide"),
    Default(GENERIC, ("snmp",), "", "private", "EXAMPLE.conf of Net-SNMP; Cisco: SNMP Configuration Guide"),
    Default("apc", DEVICE, "apc", "apc", "APC: UPS Network Management Card 2, User Guide"),
    Default("axis", (*FILES, *PAGES, "telnet"), "root", "pass", "Axis: User's Manual of cameras before firmware 5.70"),
    Default("canon", PAGES, "7654321", "7654321",
            "https://oip.manual.canon/USRMA-3521-zz-PS-910-enUS/contents/devu-security-rest_access_auth-admin_set.html"),
    Default("cisco", (*SHELLS, *PAGES), "cisco", "cisco", "Cisco: Small Business 300 Series, Administration Guide"),
    Default("d_link", (*PAGES, "telnet"), "admin", "", "D-Link: DIR-615 User Manual"),
    Default("dell", (*SHELLS, *PAGES), "root", "calvin", "Dell: Integrated Dell Remote Access Controller User's Guide"),
    Default("fortinet", (*SHELLS, *PAGES), "admin", "", "Fortinet: FortiOS Administration Guide, Getting started"),
    Default("grafana", PAGES, "admin", "admin", "https://grafana.com/docs/grafana/latest/setup-grafana/sign-in-to-grafana/"),
    Default("hikvision", PAGES, "admin", "12345", "Hikvision: User Manual of network cameras before firmware 5.3.0"),
    Default("ibm", (*SHELLS, *PAGES), "USERID", "PASSW0RD", "IBM, Lenovo: Integrated Management Module II User's Guide"),
    Default("juniper", (*SHELLS, *PAGES), "netscreen", "netscreen", "Juniper: ScreenOS Concepts and Examples, Administration"),
    Default("kyocera", PAGES, "Admin", "Admin", "Kyocera: PA4500ci Operation Guide, Administrator Privileges Overview"),
    Default("linksys", PAGES, "admin", "admin", "Linksys: WRT54GL User Guide"),
    Default("mailcow", PAGES, "admin", "moohoo", "https://docs.mailcow.email/getstarted/install/"),
    Default("mikrotik", DEVICE, "admin", "", "https://help.mikrotik.com/docs/spaces/ROS/pages/328151/First+Time+Configuration"),
    Default("modoboa", (*PAGES, *MAIL), "admin", "password", "https://modoboa.readthedocs.io/en/latest/installation.html"),
    Default("mysql", ("mysql",), "root", "", "https://dev.mysql.com/doc/refman/8.0/en/default-privileges.html"),
    Default("netgear", (*PAGES, "telnet"), "admin", "password", "NETGEAR: WNR2000 User Manual"),
    Default("openwrt", (*SHELLS, *PAGES), "root", "", "https://openwrt.org/docs/guide-quick-start/walkthrough_login"),
    Default("opnsense", ("ssh", *PAGES), "root", "opnsense", "https://docs.opnsense.org/manual/install.html"),
    Default("pfsense", ("ssh", *PAGES), "admin", "pfsense", "https://docs.netgate.com/pfsense/en/latest/usermanager/defaults.html"),
    Default("polycom", PAGES, "Polycom", "456", "Polycom: UC Software Administrator's Guide"),
    Default("qnap", ("ssh", *FILES, *PAGES), "admin", "admin", "QNAP: QTS User Manual, before QTS 4.4.2"),
    Default("rabbitmq", PAGES, "guest", "guest", "https://www.rabbitmq.com/docs/access-control"),
    Default("raspberry_pi", ("ssh",), "pi", "raspberry", "https://www.raspberrypi.com/news/raspberry-pi-bullseye-update-april-2022/"),
    Default("redis", ("redis",), "", "foobared", "redis.conf of Redis: the example at requirepass"),
    Default("ricoh", (*FILES, *PAGES, "telnet"), "admin", "", "Ricoh: SP 4510DN manual, Specifying Administrator Privileges"),
    Default("rspamd", ("rspamd",), "", "q1", "rspamd: conf/worker-controller.inc as shipped"),
    Default("supabase", ("postgresql",), "postgres", "postgres", "https://supabase.com/docs/guides/local-development"),
    Default("supermicro", ("ssh", *PAGES), "ADMIN", "ADMIN", "https://www.supermicro.com/en/support/BMC_Unique_Password"),
    Default("tp_link", (*PAGES, "telnet"), "admin", "admin", "TP-Link: TL-WR841N User Guide"),
    Default("ubiquiti", DEVICE, "ubnt", "ubnt", "Ubiquiti: EdgeRouter X Quick Start Guide"),
    Default("xerox", PAGES, "admin", "1111", "Xerox: WorkCentre System Administrator Guide; KB0092300 (before PL6)"),
    Default("yealink", PAGES, "admin", "admin", "Yealink: SIP Phones Administrator Guide"),
    Default("zabbix", PAGES, "Admin", "zabbix", "https://www.zabbix.com/documentation/current/en/manual/quickstart/login"),
    Default("zyxel", DEVICE, "admin", "1234", "Zyxel: ZyWALL USG User's Guide"),
)
VENDORS = tuple(sorted({default.vendor for default in DEFAULTS}))


def defaults_for(protocol: str, vendors: Collection[str], known: Iterable[Default] = DEFAULTS) -> Iterator[Default]:
    """What these vendors ship for a protocol; of none in particular, where none is named."""
    wanted = vendors or (GENERIC,)
    yield from (default for default in known if default.vendor in wanted and protocol in default.protocols)
