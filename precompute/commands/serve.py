"""`demo` and `serve`: the atlas in a browser."""

from argparse import Namespace

from atlas.places import DEMO
from precompute.commands.output import store_to_read
from precompute.serve import serve


def announce(line: str) -> None:
    """Print the address at once, also into a pipe."""
    print(f"{line}\nCtrl-C ends it.", flush=True)


def demo(args: Namespace) -> int:
    """Open the shipped bundle."""
    serve(DEMO, args.port, announce, args.address, browser=args.browser)
    return 0


def run(args: Namespace) -> int:
    """Open a store."""
    serve(store_to_read(args), args.port, announce, args.address, browser=args.browser)
    return 0
