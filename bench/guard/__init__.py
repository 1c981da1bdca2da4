"""The guard: instructions of each stage of a message's journey, compared with what was committed."""
