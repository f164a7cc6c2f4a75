"""Recipes that come with Lapel, one YAML file each."""
