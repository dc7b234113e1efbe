"""A training killed at twenty random moments and resumed, beside one that was let run.

    python -m tests.benchmarks.train_kills [--kills N] [--seed S]

Prints the checkpoint at each kill, and whether figures and weights are the other's, bit by bit.
"""

import argparse
import random
import tempfile
from pathlib import Path

from atlas.training_log import METRICS, read_metrics
from tests.trainer.test_loop import EPOCHS, OFTEN, curve, killed, loop, training


def main() -> None:
    """Kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        cut, whole = Path(name) / "cut", Path(name) / "whole"
        steps = killed(cut, args.kills, random.Random(args.seed))
        print(f"killed with checkpoints at steps {', '.join(map(str, steps))}")
        loop(whole, training(epochs=EPOCHS), OFTEN).run()
        lines = len(read_metrics(whole / METRICS))
        same = curve(cut) == curve(whole)
        last = [sorted(folder.glob("checkpoint-*.safetensors"))[-1] for folder in (cut, whole)]
        bits = last[0].name == last[1].name and last[0].read_bytes() == last[1].read_bytes()
        print(f"{args.kills} kills: {lines} lines of figures {'equal' if same else 'DIFFER'}, "
              f"checkpoint {last[0].name} {'equal' if bits else 'DIFFERS'} bit by bit")
        raise SystemExit(not (same and bits))


if __name__ == "__main__":
    main()
