"""The contracts on a chain: every item of the acceptance list, and what ours do otherwise than v1."""
