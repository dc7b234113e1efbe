"""The steps at which the models of a release kept their snapshots.

Follows crosscoder-method section 1.3.
"""

PYTHIA = (
    0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000,
    14000, 21000, 27000, 34000, 47000, 61000, 75000, 89000, 102000, 116000, 130000, 143000,
)
OLMO = (
    150, 600, 700, 850, 900, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 14000, 21000,
    27000, 34000, 47000, 110000, 173000, 236000, 299000, 362000, 425000, 488000, 614000, 677000,
    740000, 803000, 866000, 928000,
)
PYTHIA_16 = PYTHIA[::2]
"""Every second step of Pythia's, from the first on."""
MATCHED_WINDOW = (
    256, 512, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 10000, 13000, 14000, 21000,
    23000, 27000, 33000, 34000, 43000, 47000, 53000, 61000, 73000, 83000, 89000, 93000, 102000,
    113000, 123000, 130000, 143000,
)
SCHEDULES = {
    "Pythia, 32 steps": PYTHIA, "Pythia, 16 steps": PYTHIA_16, "OLMo-2-7B, 32 steps": OLMO,
    "matched window, 32 steps": MATCHED_WINDOW,
}
"""The schedules of record by what they are called in a note or a recipe."""
