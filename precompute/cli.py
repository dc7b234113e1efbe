"""The command line `readout-atlas`: parse, hand over to a verb, turn a failure into a status.

Exit statuses: 0 done, 1 a check failed, 2 not there or not valid, 3 broken artifact, 4 hub, 5 store
busy, 6 no space, 7 versions do not fit, 8 out of memory, 9 training diverged, 130 and 143
interrupted. A failure is one line on stderr; `--debug` adds the traceback.
"""

import argparse
import difflib
import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn

from atlas.errors import AtlasError, InvalidValue, NoSpace, OutOfMemory

PROGRAM = "readout-atlas"
VERBS = (
    "demo", "serve", "runs", "plan", "build", "train", "verify", "match", "decompose", "doctor",
    "control", "export", "publish", "import",
)
EXAMPLE_RUN = "demo/large/W_U/cross-snapshot-24/d512/seed0"
EXAMPLE_OTHER = "demo/large/W_U/cross-snapshot-24/d512/seed1"
EXAMPLE_PRISM = "demo/large/prism/k16_8x"
STORE_HELP = (
    "store to use (default: $READOUT_ATLAS_STORE, then data/store if it was built, then the "
    "shipped bundle); hf://datasets/OWNER/NAME or an exported folder is opened too"
)
INTERRUPTED, TERMINATED, BROKEN_PIPE = 130, 143, 141
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Terminated(BaseException):
    """SIGTERM arrived; not an Exception, so that no handler on the way mistakes it for a fault."""


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is an `InvalidValue`, one line like every other failure."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Refuse a command line."""
        raise InvalidValue(f"{message}; see `{self.prog} --help`")


def port_number(text: str) -> int:
    """A port that a user may listen on."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; use 1024 to 65535")
    return int(text)


def count(text: str) -> int:
    """A number of things, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a count; use 0, 1, 2 …")
    return int(text)


def setting(text: str) -> tuple[str, str]:
    """A `key=value` of `train --set`."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not key=value")
    return key, value


def minutes(text: str) -> float:
    """A positive number of `train --save-minutes`."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes above 0")
    return value


def parser() -> Parser:
    """The whole command line."""
    top = Parser(
        prog=PROGRAM,
        description="Look at a language model's readout being born.",
        epilog=f"example:\n  {PROGRAM} demo",
    )
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=Parser)

    def verb(name: str, summary: str, example: str, handler: str) -> Parser:
        made = verbs.add_parser(
            name, help=summary, description=summary, epilog=f"example:\n  {PROGRAM} {example}"
        )
        made.set_defaults(handler=handler)
        made.add_argument("--debug", action="store_true", help="show the traceback of a failure")
        return made

    _browser(verb)
    _looking(verb)
    _making(verb)
    _sharing(verb)
    return top


Verb = Callable[[str, str, str, str], Parser]


def _browser(verb: Verb) -> None:
    demo = verb("demo", "open the atlas on the shipped bundle", "demo --port 8600", "serve:demo")
    serve = verb("serve", "open the atlas on a store", "serve --store data/store", "serve:run")
    serve.add_argument("--store", metavar="DIR", help=STORE_HELP)
    for made in (demo, serve):
        made.add_argument("--port", type=port_number, metavar="N",
                          help="port to listen on (default: the first free one from 8501 on)")
        made.add_argument("--address", default="127.0.0.1", metavar="IP",
                          help="network address to listen on (default: this machine only)")
        made.add_argument("--no-browser", dest="browser", action="store_false",
                          help="print the address only")


def _looking(verb: Verb) -> None:
    runs = verb("runs", "list what a store holds", "runs --json", "runs:run")
    runs.add_argument("--inventory", action="store_true",
                      help="list all 87 released dictionaries and their state here")
    decompose = verb(
        "decompose",
        "say which features make the next token win",
        f"decompose --run {EXAMPLE_PRISM} --prompt 'In the beginning' --kind family "
        "--target ' God | god' --versus ' man, king' --json",
        "decompose:run",
    )
    decompose.add_argument("--run", required=True, metavar="RUN", help="a dictionary over W_U")
    decompose.add_argument("--prompt", required=True, metavar="TEXT",
                           help="text before the predicted token (--prompt=-x if it starts so)")
    decompose.add_argument("--kind", metavar="KIND",
                           help="token, centred, vocabulary, contrast, family, topk or rank: one "
                           "logit; less the mean row; less the average row of the vocabulary; two "
                           "tokens; two families; the winner against those after it; against one "
                           "rank (default: contrast, or token with --target alone)")
    decompose.add_argument("--target", metavar="TOKEN",
                           help="token whose logit is taken apart, tried with a leading space "
                           "first; #17 is token 17 (default: the likeliest against the next). Of "
                           "a family words between ' | ' or commas")
    decompose.add_argument("--versus", metavar="TOKEN",
                           help="token, or words of the family, whose logit is taken off")
    decompose.add_argument("--rank", type=count, metavar="R",
                           help="with --kind rank: rank to compare the winner with (default: 5)")
    decompose.add_argument("--rivals", type=count, metavar="K",
                           help="with --kind topk: tokens after the winner (default: 10)")
    decompose.add_argument("--step", default="last", metavar="N",
                           help="snapshot: a step, last or all (default: last)")
    decompose.add_argument("--position", type=int, default=-1, metavar="I",
                           help="predict after this token of the prompt (default: -1, its end)")
    decompose.add_argument("--hidden", choices=("final", "own"), default="final",
                           help="whose hidden state: the last model's, or each snapshot's own")
    decompose.add_argument("--top", type=count, metavar="N",
                           help="features to list (default: 10; all with --json)")
    decompose.add_argument("--show", action="append", default=[], metavar="WHAT",
                           help="also inside (layers, components), swap (every hidden state with "
                           "every readout) or alone (the dictionary's own answer); may be repeated")
    decompose.add_argument("--over", choices=("position", "prompt"), default="position",
                           help="with --show swap: one prediction or all of the prompt")
    decompose.add_argument("--align", default="none", metavar="HOW",
                           help="with --show swap: none, mean, scale, row_norm or procrustes")
    decompose.add_argument("--edit", metavar="EDIT",
                           help="also what ablate:12,40 or scale:12@0.5 or add:12@4 does to what "
                           "the head reads, beside random features")
    decompose.add_argument("--seed", type=count, default=0, metavar="S",
                           help="with --edit: of the random features (default: 0)")
    verify = verb("verify", "recompute a run's quality beside the recorded figures",
                  f"verify {EXAMPLE_RUN} --json", "verify:run")
    verify.add_argument("run", metavar="RUN", help="a run id of the store, or a run folder")
    doctor = verb("doctor", "check the installation and the store", "doctor", "doctor:run")
    doctor.add_argument("--network", action="store_true", help="also ask whether the hub answers")
    for made in (runs, decompose, verify, doctor):
        made.add_argument("--store", metavar="DIR", help=STORE_HELP)
        made.add_argument("--json", action="store_true", help="print JSON for programs")
    _device(decompose)


def _making(verb: Verb) -> None:
    plan = verb("plan", "say what build would do, and how long it would take",
                "plan demo", "build:plan")
    build = verb("build", "fetch or train a run if needed, precompute it and publish it into the "
                 "store; resumable",
                 "build pythia-160m/W_U/cross-snapshot-32/d24576/seed0", "build:build")
    for made in (plan, build):
        made.add_argument("run", metavar="RUN",
                          help="a run id, a released path, a run folder, or `demo` for the whole "
                          "bundle")
        made.add_argument("--from-scratch", action="store_true",
                          help="demo only: train everything from the corpus on")
        made.add_argument("--store", metavar="DIR",
                          help="store to build into (default: data/store)")
        made.add_argument("--from", dest="source", metavar="DIR|hub",
                          help="take released files from a folder laid out as <owner>/<repository>/"
                          "[<revision>/]<path>, with loose snapshots below snapshots/ (default: "
                          "the hub)")
        made.add_argument("--offline", action="store_true",
                          help="ask no one: only what is on this machine")
        made.add_argument("--model", action=argparse.BooleanOptionalAction,
                          help="also fetch the whole language model, for prompts (default: if it "
                          "takes 8 GB or less)")
        _device(made)
    for name, words in (("--rank", "this process's number among them"),
                        ("--world-size", "how many processes build this run together")):
        build.add_argument(name, type=count, metavar="N",
                           help=f"{words} (default: as torchrun or Slurm say)")
    build.add_argument("--force", action="store_true", help="compute finished stages anew")
    plan.add_argument("--json", action="store_true", help="print JSON for programs")
    plan.add_argument("--train", action="store_true",
                      help="the training of a released run, instead of fetching it")
    plan.add_argument("--set", dest="settings", action="append", type=setting, default=[],
                      metavar="KEY=VALUE", help="the training with a changed dial; repeatable")
    match = verb("match", "say which features of a run return in others, into the store",
                 f"match {EXAMPLE_RUN} {EXAMPLE_OTHER}", "match:run")
    match.add_argument("runs", metavar="RUN", nargs="+",
                       help="built runs of one model, matrix and schedule: every pair of them; a "
                       "single one is matched with all of the store that fit it")
    match.add_argument("--by", metavar="WAYS", help="trajectory, terminal, tokens, life, with "
                       "commas between them; all that fit a pair unless told")
    match.add_argument("--store", metavar="DIR", help="store that holds the runs")
    match.add_argument("--force", action="store_true", help="match anew what is matched already")
    match.add_argument("--json", action="store_true", help="print JSON for programs")
    _device(match)
    control = verb("control", "train a run's recipe on shuffled rows: what it shows without any "
                   "history", f"control {EXAMPLE_RUN}", "control:run")
    control.add_argument("run", metavar="RUN", help="a run trained here, or its folder")
    control.add_argument("--store", metavar="DIR", help="store that holds the run")
    control.add_argument("--seed", type=count, default=0, metavar="N",
                         help="seed of the shuffling (default: 0)")
    control.add_argument("--epochs", type=count, metavar="N",
                         help="passes over the rows (default: those of the run)")
    control.add_argument("--force", action="store_true", help="train anew what is there")
    control.add_argument("--json", action="store_true", help="print JSON for programs")
    train = verb("train", "train a dictionary or language model into a run folder",
                 f"train {EXAMPLE_RUN} --set seed=7", "train:run")
    train.add_argument("recipe", metavar="RECIPE|RUN",
                       help="a recipe name, a recipe file, or a run id that has a recipe")
    train.add_argument("--set", dest="settings", action="append", type=setting, default=[],
                       metavar="KEY=VALUE", help="change a dial of the recipe; repeatable")
    train.add_argument("--store", metavar="DIR", help="store to train into")
    train.add_argument("--from", dest="source", metavar="DIR|hub",
                       help="where snapshots of a released model come from: a mirror, or the hub")
    train.add_argument("--offline", action="store_true",
                       help="use what the store and the hub's cache hold")
    train.add_argument("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N")
    train.add_argument("--save-minutes", type=minutes, default=5.0, metavar="N",
                       help="time between checkpoints (default: 5)")


def _sharing(verb: Verb) -> None:
    export = verb("export", "write a store, runs or tables for others",
                  "export --store data/store --to shared", "share:export")
    publish = verb(
        "publish",
        "share a store as a data set on the hub (`build` already lists runs in their store; this "
        "sends them to others)",
        "publish --store data/store --to hf://datasets/OWNER/NAME --private", "share:publish",
    )
    receive = verb("import", "put the runs of a shared store into a store of your own",
                   "import hf://datasets/OWNER/NAME --store data/store", "share:receive")
    for made in (export, publish):
        made.add_argument("--store", metavar="DIR", help=STORE_HELP)
        made.add_argument("--run", dest="runs", action="append", default=[], metavar="RUN",
                          help="a run to share; repeatable (default: all of them)")
        made.add_argument("--weights", action="store_true",
                          help="also dictionaries, snapshots and models, for live decompositions")
        made.add_argument("--licence", default="", metavar="ID",
                          help="licence of the tables, as the hub spells it, e.g. cc-by-4.0")
    export.add_argument("--to", required=True, metavar="DIR", help="folder to write")
    export.add_argument("--format", choices=("parquet", "csv", "json"), default="parquet",
                        help="csv and json write plain tables; Parquet a store to open again")
    export.add_argument("--table", dest="tables", action="append", default=[], metavar="NAME",
                        help="only this table, e.g. feature, life, promoted; repeatable")
    publish.add_argument("--to", required=True, metavar="ADDRESS",
                         help="hf://datasets/OWNER/NAME; needs a token that may write: set "
                         "HF_TOKEN or run `hf auth login`")
    publish.add_argument("--private", action="store_true",
                         help="make the data set private if it is new")
    receive.add_argument("source", metavar="SOURCE",
                         help="hf://datasets/OWNER/NAME[@REVISION], or a folder that export wrote")
    receive.add_argument("--store", metavar="DIR", help="store to add the runs to")


def _device(made: Parser) -> None:
    made.add_argument("--device", metavar="NAME",
                      help="auto, cpu, cuda or cuda:N (default: a GPU if there is one)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        with _termination():
            status = _dispatch(arguments)
            sys.stdout.flush()
            return status
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except Terminated:
        return _complain("terminated", TERMINATED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:  # the last line of defence: nothing leaves as a traceback
        if debug:
            traceback.print_exc()
        known = translate(error)
        return _complain(f"error[{known.status}]: {known}", known.status)


def _dispatch(arguments: list[str]) -> int:
    if arguments and not arguments[0].startswith("-"):
        _check_verb(arguments[0])
    args = parser().parse_args(arguments)
    module, function = args.handler.split(":")
    return getattr(import_module(f"precompute.commands.{module}"), function)(args)


def _check_verb(name: str) -> None:
    if name not in VERBS:
        near = difflib.get_close_matches(name, VERBS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"verbs are {', '.join(VERBS)}"
        raise InvalidValue(f"{name!r} is not a verb; {hint}")


def translate(error: Exception) -> AtlasError:
    """The failure that a status belongs to, for what no module foresaw."""
    if isinstance(error, AtlasError):
        return error
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.errno in FULL or "No space left" in text:
        return NoSpace(f"no space left ({text[:200]}); free some and run the command again")
    if isinstance(error, MemoryError) or "out of memory" in text.lower():
        return OutOfMemory(f"memory ran out ({text[:200]}); use --device cpu or a smaller run")
    if isinstance(error, OSError):
        return InvalidValue(f"{text[:300]}; check that path")
    return AtlasError(
        f"unexpected {type(error).__name__}: {text[:300]}; run it again with --debug and report it"
    )


def _complain(line: str, status: int) -> int:
    """One line on stderr, whatever the message holds."""
    cleaned = "".join(c if c.isprintable() else " " for c in line)
    print(f"{PROGRAM}: {' '.join(cleaned.split())}", file=sys.stderr, flush=True)
    return status


@contextmanager
def _termination() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that whatever is staged is cleaned away."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread: signals are someone else's
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
