"""`python -m ocn_fast` is the command `ocn-fast`."""

from ocn_fast.cli import main

if __name__ == "__main__":
    main()
