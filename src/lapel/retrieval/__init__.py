"""From a run and a catalogue to search: embedder, index, filters."""
