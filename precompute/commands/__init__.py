"""One module per verb or family of verbs of the command line `readout-atlas`.

A verb is `run(args) -> int`: it prints its answer and returns its exit status, 0 when done. Every
failure is raised as an `AtlasError`; only `precompute.cli` turns one into a line and a status.
"""
