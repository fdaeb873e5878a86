"""One table says which arguments of a program name its input: refused in a study, taken away from a machine file."""

from __future__ import annotations

import pytest

from lamflow.engines.commands import PROGRAMS


@pytest.mark.parametrize(
    ("engine", "command", "rest"),
    [
        ("lammps", "mpirun -n 4 lmp_mpi -in in.lammps -k on", "mpirun -n 4 lmp_mpi -k on"),
        ("cp2k", "cp2k.psmp -i a.inp -o a.out", "cp2k.psmp"),
        ("qe", "pw.x -nk 2 -inp pw.in", "pw.x -nk 2"),
        ("gaussian", "g16 input.com", "g16"),
        ("vasp", "srun vasp_std INCAR", "srun vasp_std"),
        ("abacus", "abacus --input x/INPUT", "abacus"),
    ],
)
def test_what_is_refused_is_taken_away(engine: str, command: str, rest: str) -> None:
    arguments = PROGRAMS[engine]
    with pytest.raises(ValueError, match="lamflow writes the input"):
        arguments.check(command.split())
    assert arguments.without(command.split()) == rest.split()
    arguments.check(rest.split())


def test_variables_of_a_template_of_others_are_taken_away_only() -> None:
    words = ["lmp", "-v", "restart", "0"]
    PROGRAMS["lammps"].check(words)
    assert PROGRAMS["lammps"].without(words) == ["lmp"]
