"""`python -m aquin_nb.cli`, which is how a board is started that outlives its session."""

import sys

from . import main

sys.exit(main())
