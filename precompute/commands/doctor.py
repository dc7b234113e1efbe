"""`doctor`: the state of the installation, and what mends it."""

from argparse import Namespace

from atlas.errors import AtlasError
from precompute.commands.output import print_json, store_to_read
from precompute.doctor import examine, is_well


def run(args: Namespace) -> int:
    """Print every check; a check that fails and is needed makes the command fail."""
    checks = examine(store_to_read(args), args.network)
    ok = is_well(checks)
    if args.json:
        print_json({
            "ok": ok,
            "checks": [
                {"name": c.name, "ok": c.ok, "detail": c.detail, "fix": c.fix,
                 "optional": c.optional}
                for c in checks
            ],
        })
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            mark = "ok" if check.ok else "--" if check.optional else "NO"
            print(f"{mark}  {check.name:<{width}}  {check.detail}")
            if check.fix and not check.ok:
                print(f"    {'':<{width}}  mend with: {check.fix}")
    if not ok:
        failed = next(c for c in checks if not c.ok and not c.optional)
        raise AtlasError(f"{failed.name}: {failed.detail}; mend with: {failed.fix}")
    return 0
