"""docs/benchmarks/switchover.md: its table, picture and data from a run's JSON.

    python -m bench.switchover.page build/bench/switchover.json [--rate 500]
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from bench.switchover import plot, table
from bench.switchover.measure import Round

PAGE = Path("docs/benchmarks/switchover.md")
FOLDER = PAGE.parent
BEGIN, END = "<!-- switchover: made by bench.switchover.page -->\n", "<!-- switchover: end -->"


def read(told: dict[str, Any]) -> list[Round]:
    """The rounds of a run, as they were."""
    found = []
    for about, seen in zip(told["rounds"], told["samples"], strict=True):
        values = {k: v for k, v in about.items() if k != "stall_ms"}
        samples = [tuple(s) for s in seen["samples"]]
        failures = [tuple(f) for f in seen["failures"]]
        found.append(Round(**values, samples=samples, failures=failures))
    return found


def put(told: dict[str, Any], rate: int) -> None:
    """Write table and machine between the page's marks, the picture and the data beside it."""
    rounds = read(told)
    text = f"{table.markdown(table.lines(rounds))}\nMachine: {told['machine']}; {told['at']}.\n"
    page = PAGE.read_text()
    new = re.sub(
        f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: BEGIN + text + END, page, flags=re.S
    )
    about = f"the middle round of each method; {told['machine']}"
    plot.draw(rounds, rate, about, FOLDER / "switchover.png")
    kept = {key: value for key, value in told.items() if key != "samples"}
    (FOLDER / "switchover.json").write_text(json.dumps(kept, indent=1) + "\n")
    PAGE.write_text(new)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.switchover.page")
    parser.add_argument("json", type=Path)
    parser.add_argument("--rate", type=int, default=500, help="of the picture [500]")
    asked = parser.parse_args()
    put(json.loads(asked.json.read_text()), asked.rate)


if __name__ == "__main__":
    main()
