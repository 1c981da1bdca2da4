"""The registry of operators and parties: today from a signed snapshot file."""
