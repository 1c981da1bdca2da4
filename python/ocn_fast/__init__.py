"""ocn_fast: a fast, honest node for the Open Charging Network."""
