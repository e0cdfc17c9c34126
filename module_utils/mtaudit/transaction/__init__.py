"""Change a host so that it can be taken back: snapshots."""
