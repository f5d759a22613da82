"""`python -m hilnas`."""

import sys

from hilnas.cli import main

sys.exit(main())
