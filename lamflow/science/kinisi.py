"""Diffusion coefficients by kinisi, where it is installed."""

from __future__ import annotations

import importlib.util
import warnings

import numpy as np

from lamflow.data.frames import Floats
from lamflow.science.transport import chosen_lags, diffusive_start, squared_displacements


def has_kinisi() -> bool:
    """It is installed here."""
    return importlib.util.find_spec("kinisi") is not None


def diffusion_by_kinisi(paths: Floats, interval: float, seed: int) -> tuple[float, float] | None:
    """Mean and standard deviation of the posterior of D in cm²/s (A. R. McCluskey et al., J. Chem. Theory Comput. 21,
    79 (2025)); None where the paths (F, N, 3) in Å, `interval` ps apart, show no diffusion.

    Raises ValueError where kinisi is missing.
    """
    if not has_kinisi():
        raise ValueError('kinisi is not installed here; pip install "lamflow[transport]"')
    lags = chosen_lags(len(paths))
    try:
        start = diffusive_start(lags, squared_displacements(paths, lags), len(paths))
    except ValueError:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _asked(paths, interval, float(lags[start] * interval), seed)


def _asked(paths: Floats, interval: float, start: float, seed: int) -> tuple[float, float]:
    """See `diffusion_by_kinisi`. kinisi follows atoms through a cell; one that is wide enough changes nothing."""
    import scipp as sc
    from ase import Atoms
    from kinisi.analyze import DiffusionAnalyzer

    width = 4 * float(np.abs(paths - paths[0]).max()) + 10.0
    frames = [
        Atoms(numbers=[3] * paths.shape[1], positions=one - paths[0] + width / 2, cell=np.eye(3) * width, pbc=True)
        for one in paths
    ]
    analyzer = DiffusionAnalyzer.from_ase(
        frames, specie="Li", time_step=sc.scalar(interval, unit="ps"), step_skip=sc.scalar(1), progress=False
    )
    analyzer.diffusion(sc.scalar(start, unit="ps"), progress=False, random_state=np.random.RandomState(seed % 2**31))
    samples = np.asarray(analyzer.D.values)
    return float(samples.mean()), float(samples.std())
