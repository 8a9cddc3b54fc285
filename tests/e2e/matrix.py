"""Rows of a matrix of faults: which of them are run, how often, and what was hit."""
import os
import random
from collections import Counter
from contextlib import contextmanager

ALL = os.environ.get("LAKEWARD_E2E_FAULTS") == "all"
SEED = int(os.environ.get("LAKEWARD_E2E_SEED", random.randrange(2**32)))
FIGURES = Counter()


def some(rows, few):
    """A few rows by the seed; with LAKEWARD_E2E_FAULTS=all all of them, three times each."""
    rows = list(rows)
    return rows * 3 if ALL else random.Random(SEED).sample(rows, few)


@contextmanager
def hit(*what):
    """One hit: counted when what it left was as it is to be, and named when it was not."""
    print(f"{', '.join(map(str, what))}; the same rows again: LAKEWARD_E2E_SEED={SEED}")
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{', '.join(map(str, what))}: {error}") from error
    FIGURES[what] += 1


def print_figures():
    for what, hits in sorted(FIGURES.items(), key=str):
        print(f"{hits} x {', '.join(map(str, what))}")
    kills = sum(hits for what, hits in FIGURES.items() if what[0] == "kill -9")
    print(f"{sum(FIGURES.values())} hits, of which {kills} kills, lost and doubled nothing")
    FIGURES.clear()
