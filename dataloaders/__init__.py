"""Files on disk -> clips."""
