"""`python -m precompute` is the command line `readout-atlas`."""

import sys

from precompute.cli import main

sys.exit(main())
