"""A bank of FIR filters over a sound: one product of overlapping windows with all filters.

    python examples/filter_bank.py --device emulator

Makes a second of sound (a sweep from 100 Hz to 4 kHz and noise), passes it through 24 band-pass
filters of 255 taps, and prints which band is loudest as time goes on.
"""

import common
import numpy as np

import piblas

RATE, TAPS, BANDS = 16_000, 255, 24


def bank():
    """Windowed-sinc band-pass filters, logarithmically spaced; shape (TAPS, BANDS)."""
    edges = np.geomspace(80, 5000, BANDS + 1) / RATE
    t = np.arange(TAPS) - TAPS // 2
    low = [2 * edge * np.sinc(2 * edge * t) for edge in edges]
    window = np.hamming(TAPS)
    filters = np.array([(high - below) * window for below, high in zip(low, low[1:])]).T
    return filters.astype(np.float32), edges * RATE


def main():
    args = common.arguments(__doc__, seconds=1)
    n = RATE * args.seconds
    t = np.arange(n) / RATE
    phase = 2 * np.pi * 100 * args.seconds / np.log(40) * (40 ** (t / args.seconds) - 1)
    noise = np.random.default_rng(0).standard_normal(n)
    sound = (np.sin(phase) + 0.1 * noise).astype(np.float32)
    filters, edges = bank()
    # Row i holds the samples i .. i + TAPS - 1; nothing is copied.
    windows = np.lib.stride_tricks.sliding_window_view(sound, TAPS)
    with common.measured(args.device):
        filtered = piblas.sgemm(1.0, windows, filters[::-1])
    direct = np.convolve(sound.astype(np.float64), filters[:, 7], mode="valid")
    error = abs(filtered[:, 7] - direct).max() / abs(direct).max()
    print(f"against np.convolve in float64: {error:.1e}")
    loudest = []
    for piece in np.array_split(filtered, 8):
        band = int((piece**2).mean(axis=0).argmax())
        loudest.append(band)
        print(f"  {edges[band]:5.0f} to {edges[band + 1]:5.0f} Hz")
    return error, loudest


if __name__ == "__main__":
    main()
