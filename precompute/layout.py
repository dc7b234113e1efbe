"""The only door to openTSNE: places of features in a plane from their nearest neighbours.

openTSNE rather than umap-learn, which also takes ready neighbours: at 24,576 features it takes 40
s of one core instead of 10, but umap-learn compiles itself for 10 to 20 s in every process before
its first small map, which every small store and test would pay, and brings a compiler along.
"""

import numpy as np

MIN_POINTS = 5
"""Fewest features that are worth a map."""
EARLY, LATE = 250, 500
"""Optimisation steps with and without exaggeration, the library's own numbers."""


def layout(ids: np.ndarray, distances: np.ndarray, seed: int, threads: int = 1) -> np.ndarray:
    """Places (N, 2) float64 of N points of which each has its m nearest others.

    Args:
        ids: (N, m) the nearest others, nearest first.
        distances: (N, m), 0 or more, rising along a row.
        seed: the same places for the same seed, whatever the number of threads.
    """
    from openTSNE import TSNEEmbedding, affinity, initialization, nearest_neighbors
    from threadpoolctl import threadpool_limits

    # several threads of BLAS add long vectors in another order: the start would differ in its last
    # bits and the places by far; the steps themselves give the same for any number of jobs
    with threadpool_limits(1, user_api="blas"):
        near = nearest_neighbors.PrecomputedNeighbors(
            ids.astype(np.int64), distances.astype(np.float64)
        )
        pull = affinity.PerplexityBasedNN(
            knn_index=near, perplexity=max(1.0, ids.shape[1] / 3), n_jobs=threads, random_state=seed
        )
        start = initialization.spectral(pull.P, random_state=seed)
        places = TSNEEmbedding(start, pull, n_jobs=threads, random_state=seed)
        places.optimize(EARLY, exaggeration=12, momentum=0.5, inplace=True)
        places.optimize(LATE, momentum=0.8, inplace=True)
        return np.asarray(places)
