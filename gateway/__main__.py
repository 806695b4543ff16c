"""``python -m gateway``: the same verbs as ``wan-gateway``."""

import sys

from gateway.cli import main

sys.exit(main())
