"""Fourier transforms: linear, and symmetric but for what a real transform leaves out."""

import math
from typing import Any

import numpy as np
from jax import lax

from backprop_jax.engine.registry import dear_to_recompute, linear
from backprop_jax.rules.matrices import conjugate


def shares(length: int, dtype: Any) -> np.ndarray:
    """Returns how often each frequency of a real transform stands in the whole one.

    Frequency k stands for n - k, too; 0, and n/2 for even n, for itself alone.
    """
    k = np.arange(length // 2 + 1)
    return np.where((k == 0) | (2 * k == length), 1, 2).astype(dtype)


def transform(g: Any, *, fft_type: Any, fft_lengths: tuple) -> Any:
    """Returns the transposed transform of g, for frequencies k and places n with ω = exp(-2πi/N).

        FFT, IFFT   z_k = Σ_n ω^{±kn} x_n         is symmetric in k and n
        RFFT        x real, k ≤ N/2:               x_n gets Re Σ_k g_k ω^{kn}
        IRFFT       z_n = Re Σ_k s_k ω^{-kn} x_k / N:    x_k gets s_k/N Σ_n g_n ω^{-kn}

    with the shares s of the frequencies. So RFFT and IRFFT are each the other's transpose, up to
    s, N, and a conjugate. In several dimensions the last one is the real one.
    """
    size = math.prod(fft_lengths)
    if fft_type == lax.FftType.RFFT:
        spectrum = conjugate(g) * (size / shares(fft_lengths[-1], np.float64)).astype(g.dtype)
        return lax.fft_p.bind(spectrum, fft_type=lax.FftType.IRFFT, fft_lengths=fft_lengths)
    if fft_type == lax.FftType.IRFFT:
        spectrum = lax.fft_p.bind(g, fft_type=lax.FftType.RFFT, fft_lengths=fft_lengths)
        return conjugate(spectrum) * (shares(fft_lengths[-1], np.float64) / size).astype(
            spectrum.dtype
        )
    return lax.fft_p.bind(g, fft_type=fft_type, fft_lengths=fft_lengths)


linear(lax.fft_p, transform)
dear_to_recompute(lax.fft_p)
