"""Metrics, the papers' protocols, result files, figures and the report page."""
