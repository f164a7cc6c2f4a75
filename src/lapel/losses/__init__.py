"""The losses, each a few lines, by what they teach: attributes, regions, items, views."""
