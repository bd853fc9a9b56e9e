"""Run all benches. Each prints tables on standard error and one line of JSON on standard output.

python benches/all.py --quick       # small sizes: whether the benches work, and rough results
python benches/all.py               # the sizes for which the targets are stated; most of an hour
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from harness import HERE

FULL: dict[str, list[list[str]]] = {
    "startup": [[]],
    "codec": [[]],
    "throughput": [[], ["--accounts", "400", "--tls"], ["--accounts", "100", "--all"]],
    "transports": [[]],
    "telemetry": [[]],
    "workers": [[]],
    "scaling": [[]],
    "latency": [[]],
    "throttling": [[]],
    "loop": [[]],
    "memory": [[]],
    "diff": [[]],
    "merge": [[]],
    "listing": [[]],
    "query": [[]],
    "report": [[]],
}
QUICK: dict[str, list[list[str]]] = {
    "startup": [["--rounds", "3"]],
    "codec": [["--pages", "50", "--rounds", "5"]],
    "throughput": [
        ["--accounts", "100", "--rounds", "1"],
        ["--accounts", "40", "--tls", "--rounds", "1"],
        ["--accounts", "5", "--all", "--rounds", "1"],
    ],
    "transports": [["--accounts", "40", "--latency", "exponential:50", "--rounds", "1"]],
    "telemetry": [["--accounts", "20", "--rounds", "1"]],
    "workers": [["--accounts", "40", "--latencies", "10", "--workers", "1,2", "--rounds", "1"]],
    "scaling": [["--accounts", "10,50", "--pages", "1,40", "--total-pages", "600", "--rounds", "1"]],
    "latency": [["--accounts", "60", "--latency", "exponential:50,exponential:50+tls", "--rounds", "1"]],
    "throttling": [["--accounts", "30", "--regimes", "random-20,pair-2,region", "--rounds", "1"]],
    "loop": [["--accounts", "100", "--rounds", "1"]],
    "memory": [["--pools", "50000", "--accounts", "100", "--slow-pools", "25000", "--parts", "10,1"]],
    "report": [["--days", "10,60", "--accounts", "100", "--rounds", "1"]],
    "diff": [["--pools", "10000,100000", "--one-target", "20000", "--rounds", "1"]],
    "merge": [["--pools", "10000,100000", "--rounds", "1"]],
    "listing": [["--pools", "10000,100000"]],
    "query": [["--pools", "100000", "--rounds", "1"]],
}


def main() -> int:
    """Run the benches, also after one has failed, and print in the end which have failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--only", default=",".join(FULL), help="these benches, with commas between them")
    options = parser.parse_args()
    if unknown := set(options.only.split(",")) - set(FULL):
        parser.error(f"there is no bench {', '.join(sorted(unknown))}")
    chosen = QUICK if options.quick else FULL
    failed = [
        name
        for name in options.only.split(",")
        for given in chosen[name]
        if subprocess.run([sys.executable, str(HERE / f"{name}.py"), *given], check=False).returncode
    ]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
