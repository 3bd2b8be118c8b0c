"""Releases seen happening on the local AWS: `make release`."""
