"""``python -m stretto_server`` is the ``stretto`` command."""

import sys

from stretto_server.cli import main

sys.exit(main())
