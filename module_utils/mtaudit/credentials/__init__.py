"""Logins that must not work are tried at services of the network, within a budget."""
