"""The lab: a small internet of mail servers in podman containers, described by lab.yml."""
