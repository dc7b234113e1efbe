"""Command lines in a process of their own, where the hub clients read the double's address."""

import json
import subprocess
import sys

from atlas.places import ROOT

PROGRAM = """
import contextlib, io, json, sys
from precompute import cli
def transformers(name, revision):
    from transformers import AutoModelForCausalLM, AutoTokenizer
    model = AutoModelForCausalLM.from_pretrained(name, revision=revision)
    tokens = AutoTokenizer.from_pretrained(name, revision=revision)("the light")["input_ids"]
    print(type(model).__name__, len(tokens))
    return 0

for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    verb, *rest = json.loads(line)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = transformers(*rest) if verb == "transformers" else cli.main([verb, *rest])
    print(json.dumps([status, out.getvalue(), err.getvalue()]), flush=True)
"""


class Child:
    """A process that runs command lines, one after the other."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """Exit status, stdout and stderr of one command line."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([str(a) for a in arguments]), file=self.process.stdin, flush=True)
        status, out, err = json.loads(self.process.stdout.readline())
        return status, out, err

    def close(self) -> None:
        """End it; it must end well."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(30) == 0
