"""One run on one page."""
