"""New passwords are held against a policy, and accounts that are open are locked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from ..config.host import Wanted
from ..control import Site
from ..controls.password_policy import missing, old_passwords
from ..controls.passwords import open_accounts
from ..finding import Finding
from ..fix import fix
from ..readers.password_table import SHADOW
from ..readers.system import Host


@fix("PASS-01", "os")
def ask_for_more(host: Host, site: Site, findings: Sequence[Finding]) -> Wanted:
    """pam_pwquality, in front of what sets the password; pam_pwhistory between them where that is wanted, and a scheme that is
    slow to guess. No character makes a password shorter that may be shorter. Who has a password from before the day that the
    site names has to set another at the next login."""
    old = tuple(sorted(account.stored.user for account in old_passwords(host, site)))
    if not missing(host.policy, site):
        return Wanted(renewed=old)
    classes = int(site.tunables.get("min_classes", 1))
    wanted = {"minlen": int(site.tunables.get("min_length", 12)), "usercheck": 1, "dictcheck": 1, "enforcing": 1,
              **dict.fromkeys(("dcredit", "ucredit", "lcredit", "ocredit"), 0)}  # fmt: skip
    remember = int(site.tunables.get("remember", 0))
    return Wanted(quality={**wanted, "minclass": classes} if classes > 1 else wanted, remember=remember, renewed=old)


@fix("PASS-04", "os")
def lock_open_accounts(host: Host, site: Site, findings: Sequence[Finding]) -> Optional[Wanted]:
    """Those of the host that are not root's: what root's rights have, and who logs in to other tables, people have to look at."""
    found = [account for table in host.passwords.tables if table.kind == SHADOW
             for _, accounts in open_accounts(table, host.passwords, site) for account in accounts]  # fmt: skip
    names = {account.stored.user for account in found if account.uid > 0 and account.table == "/etc/shadow"}
    return Wanted(locked=tuple(sorted(names))) if names else None
