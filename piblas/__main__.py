"""``python -m piblas`` is the command ``piblas``."""

import sys

from .cli import main

sys.exit(main())
