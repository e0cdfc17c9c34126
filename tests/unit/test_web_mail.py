"""WEB-02: what is shown of a command that PHP sends mail with."""

from __future__ import annotations

import pytest
from ansible.module_utils.mtaudit.control import REGISTRY, Site
from ansible.module_utils.mtaudit.controls import every  # noqa: F401 - registers every control
from ansible.module_utils.mtaudit.readers.php import Place, Value
from ansible.module_utils.mtaudit.readers.system import Host
from ansible.module_utils.mtaudit.readers.web import Web


@pytest.mark.parametrize("password", ["-apWren-Copper", "-ap Wren-Copper", "--pass=Wren-Copper", "Wren-Copper"])
def test_no_password_on_the_command_line_is_shown(password: str) -> None:
    values = {"sendmail_path": Value(f"/usr/sbin/ssmtp -t -auwww {password}", "/etc/php/8.2/fpm/php.ini:1")}
    host = Host(web=Web(places=[Place("8.2", "fpm", "www", "www-data", values)]))
    (finding,) = REGISTRY[("WEB-02", "os")].evaluate(host, Site())
    assert finding.status.value == "fail" and "sendmail_path = /usr/sbin/ssmtp -t" in finding.message
    assert "Wren" not in str(finding.to_dict())
