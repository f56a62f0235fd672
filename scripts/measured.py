"""Runs a command, then prints its wall time and the largest peak memory of its processes.

python scripts/measured.py tmsjax compare RUN
"""

import resource
import subprocess
import sys
import time


def measured(command: list[str]) -> tuple[int, float, float]:
    """(exit code, seconds, peak memory in bytes) of a command. The peak is over all commands measured so far."""
    start = time.monotonic()
    code = subprocess.run(command, check=False).returncode
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return code, time.monotonic() - start, peak * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    code, seconds, peak = measured(sys.argv[1:])
    print(f"{' '.join(sys.argv[1:3])}: {seconds:.1f} s, peak memory {peak / 1e9:.2f} GB", flush=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
