"""The load as a process of its own: `python -m tests.sweep.client CONFIG DIRECTORY`.

It makes `DIRECTORY/begun` at its first acknowledged write, ends when `DIRECTORY/stop` exists,
verifies, and prints its report as one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

from slackwater.lab.load import Load, LoadPlan
from slackwater.lab.load_target import lab_target

RATE = float(os.environ.get("SLACKWATER_SWEEP_RATE", "150"))


def main() -> None:
    """Offer the load until told to stop."""
    config, directory = Path(sys.argv[1]), Path(sys.argv[2])
    plan = LoadPlan(
        seconds=300, rate=RATE, pooled=3, pooled_tested=3, transactions=0.3,
        connect_limit_s=10, write_limit_s=60, drain_s=20, until_file=str(directory / "stop"),
    )
    load = Load(lab_target(config), plan)

    def tell() -> None:
        if load._engine.record.acked:
            (directory / "begun").touch()
        else:
            timer()

    def timer() -> None:
        later = threading.Timer(0.02, tell)
        later.daemon = True
        later.start()

    timer()
    print(json.dumps(load.run().as_json()))


if __name__ == "__main__":
    main()
