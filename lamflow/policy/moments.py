"""Magnetic moments of start structures: ordered along waves, then tilted and stretched at random."""

from __future__ import annotations

import numpy as np

from lamflow.config.moments import MagneticOrder, StartMoments
from lamflow.data import Frame
from lamflow.data.fields import SPIN
from lamflow.data.frames import Floats


def with_directions(frame: Frame, unit: Floats, settings: StartMoments, order: MagneticOrder) -> Frame:
    """The frame with unit vectors as moments of all atoms, zeros where they are to be drawn.

    unit  (3, 3) lattice vectors in Å that the wave vector belongs to

    Raises ValueError for an order that the frame must have itself and has not.
    """
    axis = np.asarray(settings.axis) / np.linalg.norm(settings.axis)
    phase = (
        2
        * np.pi
        * (np.linalg.solve(unit.T, frame.positions.T).T if frame.pbc else frame.positions)
        @ np.asarray(settings.wave_vector)
    )
    match order:
        case "given":
            if frame.spins is None:
                raise ValueError("spins.orders: given: the file has no moments (a column `spin`)")
            lengths = np.linalg.norm(frame.spins, axis=1, keepdims=True)
            directions = np.divide(frame.spins, lengths, out=np.zeros_like(frame.spins), where=lengths > 0)
        case "ferromagnetic":
            directions = np.tile(axis, (frame.natoms, 1))
        case "antiferromagnetic":
            directions = np.where(np.cos(phase) > -1e-6, 1.0, -1.0)[:, None] * axis
        case "spiral":
            across = np.cross(axis, np.eye(3)[int(np.argmin(np.abs(axis)))])
            across /= np.linalg.norm(across)
            directions = np.cos(phase)[:, None] * across + np.sin(phase)[:, None] * np.cross(axis, across)
        case "disordered":
            directions = np.zeros((frame.natoms, 3))
    return frame.with_fields(**{SPIN: directions})


def with_lengths(frame: Frame, settings: StartMoments, rng: np.random.Generator) -> Frame:
    """The frame whose moments are unit vectors, or zeros for those to be drawn, with tilts and lengths, in μB."""
    directions = np.zeros((frame.natoms, 3)) if frame.spins is None else frame.spins
    drawn = rng.normal(size=(frame.natoms, 3))
    free = ~directions.any(axis=1, keepdims=True)
    directions = np.where(free, drawn, directions + np.where(free, 0.0, np.radians(settings.tilt) * drawn))
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = np.array([settings.moments.get(symbol, 0.0) for symbol in frame.symbols])
    lengths = lengths * np.maximum(1 + settings.spread * rng.normal(size=frame.natoms), 0.0)
    return frame.with_fields(**{SPIN: directions * lengths[:, None]})
