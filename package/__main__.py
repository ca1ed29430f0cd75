"""``python -m nearhit``: the same as the command ``nearhit``."""

import sys

from nearhit.proxy.cli.main import main

sys.exit(main())
