"""Controls on updates that mend security."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from ..control import Site, control
from ..finding import HOST, Evidence, Finding, Method, fail, passed, unknown
from ..readers.system import Host
from ..text import printable

_DAY_S = 86_400.0
# The last day of long-term support (https://wiki.debian.org/LTS): from then on nothing is pending, and nothing is mended.
_LAST_DAYS = {
    "9": datetime.date(2022, 6, 30), "10": datetime.date(2024, 6, 30), "11": datetime.date(2026, 8, 31),
    "12": datetime.date(2028, 6, 30), "13": datetime.date(2030, 6, 30),
}  # fmt: skip


@control("PATCH-01", "os")
def no_security_update_is_pending(host: Host, site: Site) -> Iterator[Finding]:
    packages, limit = host.packages, int(site.tunables.get("max_list_age_days", 2))
    age = (host.now - packages.fetched_at) / _DAY_S
    last_day = _LAST_DAYS.get(packages.release)
    if last_day and datetime.datetime.fromtimestamp(host.now, datetime.timezone.utc).date() > last_day:
        seen = Evidence(Method.CONFIG, "/etc/os-release", f"VERSION_ID={packages.release}")
        yield fail(HOST, f"Debian {packages.release} has had no security updates since {last_day}", seen)
    elif packages.pending:
        found = [Evidence(Method.CONFIG, printable(p.path), printable(f"{p.name} {p.installed}: {p.newer} is there"))
                 for p in packages.pending]
        yield fail(HOST, f"{len(found)} security updates of the mail stack wait: {found[0].text}", *found)
    elif packages.problem:
        yield unknown(HOST, "whether security updates wait is not known", packages.problem)
    elif not packages.installed:
        yield unknown(HOST, "whether security updates wait is not known", "no package of a mail program is known to dpkg")
    elif age > limit or 0 < packages.valid_until < host.now:
        reason = f"apt looked for updates {age:.0f} days ago; at most {limit} are allowed (max_list_age_days)"
        expired = "the lists of the security suite have expired (Valid-Until)"
        yield unknown(HOST, "no security update is known, but the lists are old", reason if age > limit else expired)
    else:
        yield passed(HOST, f"of {len(packages.installed)} packages of the mail stack none has a security update waiting")
