"""A small convolutional network that reads handwritten digits: im2col and sgemm.

    python examples/digits_cnn.py --device emulator

The data are scikit-learn's 1,797 pictures of 8 x 8 (`pip install scikit-learn`).  The filters of
the convolution are random; only the last layer is trained, by least squares, which needs nothing
but products and solves with a triangle, and reads about 98 of 100 digits right.  Every product,
training and inference alike, is a call of piblas.
"""

import common
import numpy as np
from sklearn.datasets import load_digits

import piblas

FILTERS, SIZE = 96, 5


def patches(pictures):
    """im2col: a row for each place of a filter in each picture."""
    windows = np.lib.stride_tricks.sliding_window_view(pictures, (SIZE, SIZE), axis=(1, 2))
    return windows.reshape(-1, SIZE * SIZE)


def features(pictures, filters, bias):
    """Convolution, bias, ReLU, and the mean over quarters of the picture."""
    places = 8 - SIZE + 1
    x = patches(pictures)
    # The bias is the third operand of the product: beta c, and c may be overwritten by the result.
    c = np.asfortranarray(np.broadcast_to(bias, (len(x), FILTERS)))
    maps = piblas.sgemm(1.0, x, filters, beta=1.0, c=c, overwrite_c=1)
    np.maximum(maps, 0, out=maps)
    maps = maps.reshape(len(pictures), 2, places // 2, 2, places // 2, FILTERS)
    return np.ascontiguousarray(maps.mean(axis=(2, 4)).reshape(len(pictures), -1))


def main():
    args = common.arguments(__doc__, train=1200, test=400)
    digits = load_digits()
    pictures = (digits.images / 16).astype(np.float32)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(pictures))
    train, test = order[: args.train], order[args.train : args.train + args.test]
    filters = rng.standard_normal((SIZE * SIZE, FILTERS), dtype=np.float32) / SIZE
    bias = rng.uniform(-0.5, 0.5, FILTERS).astype(np.float32)
    wanted = np.eye(10, dtype=np.float32)[digits.target]

    with common.measured(args.device):
        x = features(pictures[train], filters, bias)
        # Ridge regression by the normal equations: (x' x + l I) w = x' y.
        normal = piblas.ssyrk(1.0, x, trans=1, lower=1)
        normal[np.diag_indices_from(normal)] += 1.0
        factor = np.asfortranarray(np.linalg.cholesky(normal), np.float32)
        right = piblas.sgemm(1.0, x, wanted[train], trans_a=1)
        weights = piblas.strsm(1.0, factor, right, lower=1)
        weights = piblas.strsm(1.0, factor, weights, lower=1, trans_a=1)

        scores = piblas.sgemm(1.0, features(pictures[test], filters, bias), weights)
        right_ones = (scores.argmax(axis=1) == digits.target[test]).mean()
        print(f"{right_ones:.1%} of {len(test)} digits read right")
    return right_ones


if __name__ == "__main__":
    main()
