"""Public data sets, one file per format: files on disk to a catalogue."""
