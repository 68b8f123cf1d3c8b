"""`python -m gen_tickets` is `gen-tickets`."""

import sys

from gen_tickets.cli import main

if __name__ == "__main__":
    sys.exit(main())
