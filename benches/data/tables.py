"""Rows of made-up events, the same for the same seed: what both Parquet data sets are filled with."""
import numpy as np
import pyarrow as pa

VOCABULARY = 5000
START_US = 1_700_000_000_000_000
KINDS = np.array(["view", "click", "buy", "return"])


class Rows:
    """Makes batches in order from one seed. Words follow a Zipf law, so notes compress as text does."""

    def __init__(self, seed=7):
        self.rng = np.random.default_rng(seed)
        lengths = self.rng.integers(3, 11, VOCABULARY)
        self.words = [bytes(self.rng.integers(97, 123, n, dtype=np.uint8)).decode() for n in lengths]

    def note(self, n):
        ranks = np.minimum(self.rng.zipf(1.3, (n, 4)), VOCABULARY) - 1
        return pa.array([" ".join(self.words[i] for i in row) for row in ranks])

    def batch(self, first, n, kind=True):
        """`n` rows with ids from `first`; `kind` adds the column of few values."""
        rng = self.rng
        columns = {
            "id": pa.array(np.arange(first, first + n)),
            "ts": pa.array((START_US + np.cumsum(rng.integers(1, 2000, n))).astype("datetime64[us]")),
            "user": pa.array(rng.integers(0, 1_000_000, n)),
            "amount": pa.array(np.round(rng.lognormal(3, 1, n), 2)),
        }
        if kind:
            columns["kind"] = pa.array(KINDS[rng.integers(0, len(KINDS), n)])
        columns["note"] = self.note(n)
        return pa.table(columns)
