"""For models this small a second thread costs more than it computes."""

import os

# Read when torch is imported, which is after this.
os.environ.setdefault("OMP_NUM_THREADS", "1")
