"""`PYTHONPATH=scripts python -m on_gpu`: names missing packages, or runs main.py, which imports them."""

from __future__ import annotations

import signal
import sys

from on_gpu.steps import NEEDED, missing

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the step under way, too
    absent = missing(NEEDED)
    if absent:
        print(f"{sys.executable} cannot import {', '.join(absent)}; nothing was run", file=sys.stderr)
        sys.exit(2)
    from on_gpu.main import main

    sys.exit(main())
