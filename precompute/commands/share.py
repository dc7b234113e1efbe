"""`export`, `publish` and `import`: a store for others, as a folder or on the hub, and back."""

from argparse import Namespace
from pathlib import Path

from atlas.errors import InvalidValue
from precompute.commands.output import progress, quoted, size, store_to_read, store_to_write
from precompute.dataset_card import Origin
from precompute.share import export_tables, share


def export(args: Namespace) -> int:
    """Write a share, or single tables, into a folder."""
    folder = Path(args.to).expanduser().absolute()
    store = store_to_read(args)
    if args.format == "parquet" and not args.tables:
        made = share(store, folder, args.runs, args.weights, Origin("", args.licence), progress)
        progress.close()
        print(
            f"{len(made.runs)} runs, {size(made.bytes)} in {folder}; look at them with "
            f"`readout-atlas serve --store {quoted(folder)}`"
        )
        return 0
    if args.weights or args.licence:
        raise InvalidValue("--weights and --licence go with a whole export: leave --format and "
                           "--table out")
    written = export_tables(store, folder, args.runs, args.tables, args.format, progress)
    progress.close()
    total = sum(path.stat().st_size for path in written)
    print(f"{len(written)} files, {size(total)} in {folder}; columns.json says what is in them")
    return 0


def publish(args: Namespace) -> int:
    """Share a store as a data set on the hub."""
    from precompute.remote import address, send

    to = address(args.to)
    page = send(store_to_read(args), to, args.runs, args.weights, args.private, args.licence,
                progress)
    progress.close()
    print(f"{page}\nothers open it with `readout-atlas serve --store {to}`")
    return 0


def receive(args: Namespace) -> int:
    """Put the runs of a shared store into a store of one's own."""
    from precompute.remote import into

    store = store_to_write(args)
    count = into(args.source, store, progress)
    progress.close()
    print(f"{count} runs in {store}; look at them with `readout-atlas serve --store "
          f"{quoted(store)}`")
    return 0
