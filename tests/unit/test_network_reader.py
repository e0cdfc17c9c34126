"""Addresses, links, gateways and listeners, as the kernel prints them."""

from __future__ import annotations

from ansible.module_utils.mtaudit.readers import network
from ansible.module_utils.mtaudit.runner import Replay

ROUTE = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\tFE6433C6\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t006433C6\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth0\t00000A0A\t00000000\t0000\t0\t0\t0\t0000FFFF\t0\t0\t0
"""
TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 198.51.100.11
        /32 host LOCAL
     |-- 198.51.100.255
        /32 link BROADCAST
Local:
     |-- 198.51.100.11
        /32 host LOCAL
"""
ROUTE6 = """\
20010db8005100000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 20010db8005100000000000000000254 00000400 00000001 00000000 00000003     eth0
"""  # noqa: E501
INET6 = "20010db8005100000000000000000011 02 40 00 80     eth0\nfe80000000000000000000000000abcd 02 40 20 80     eth0\n"
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0019 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:2729 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   2: 0B6433C6:0016 1E6433C6:D431 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
"""
TCP6 = """\
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:0019 00000000000000000000000000000000:0000 0A
   1: B80D0120000051000000000011000000:024B 00000000000000000000000000000000:0000 0A
"""


def test_where_the_host_stands():
    found = network.parse(ROUTE, TRIE, ROUTE6, INET6)
    assert [str(a) for a in found.addresses] == ["198.51.100.11", "2001:db8:51::11"]
    assert [str(n) for n in found.links] == ["198.51.100.0/24", "2001:db8:51::/64"]
    assert [str(g) for g in found.gateways] == ["198.51.100.254", "2001:db8:51::254"]


def test_a_host_without_ipv6():
    assert [str(a) for a in network.parse(ROUTE, TRIE, "", "").addresses] == ["198.51.100.11"]


def test_what_listens():
    replay = Replay({"read": {"/proc/net/tcp": {"text": TCP}, "/proc/net/tcp6": {"text": TCP6}}})
    assert [(str(a), p) for a, p in network.listening(replay)] == [
        ("0.0.0.0", 25), ("127.0.0.1", 10025), ("::", 25), ("2001:db8:51::11", 587),
    ]  # fmt: skip
    gone = Replay({"read": {"/proc/net/tcp": {"text": TCP}, "/proc/net/tcp6": {"error": "no such file"}}})
    assert len(network.listening(gone)) == 2
