"""`python -m glt` is `glt`."""

import sys

from glt.cli import main

sys.exit(main())
