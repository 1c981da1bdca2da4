"""Measurements of ocn_fast. `python -m bench` prints them; `bench/README.md` says how they are made."""
