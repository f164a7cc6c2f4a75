"""Lapel as a service: an HTTP API over indexes, and the page that people search with."""
