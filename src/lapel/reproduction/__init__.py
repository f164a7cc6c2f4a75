"""A paper's table on a catalogue: its rows trained, measured and shown beside print."""
