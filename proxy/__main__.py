"""``python -m nearhit.proxy``: the same as the command ``nearhit``."""

import sys

from .cli.main import main

sys.exit(main())
