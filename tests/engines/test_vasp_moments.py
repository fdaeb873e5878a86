"""Moments that VASP holds: its input, and what it has written.

Real are the OUTCAR of VASP 6 with DeltaSpin and the OSZICAR of VASP's manual. OSZICARs of DeltaSpin for VASP 5, and of
the penalty for two iron atoms, are written here in the form that readers and manuals describe.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from lamflow.data import Frame, Labels
from lamflow.data.frames import Floats
from lamflow.data.io import read_source
from lamflow.data.sources import Dialect, source_frames
from lamflow.data.vasp_moments import MagneticOutput
from lamflow.engines import vasp
from lamflow.engines.own_relaxation import OwnRelaxation
from lamflow.engines.protocol import LabelFailure
from lamflow.engines.vasp_incar import read_incar
from lamflow.engines.vasp_magnetic_output import read_penalty
from tests.engines.conftest import Put, failed

MOMENTS = np.array([[0.35, 0, 2.677], [-0.35, 0, 2.677]])
FIELD = np.array([[0.01, 0, 0.05], [-0.01, 0.02, 0.05]])
RADII = {"RWIGS": {"Fe": 1.2, "O": 0.8}}
ITERATION = "-" * 40 + " Iteration    1(   1)  " + "-" * 40 + "\n"


@pytest.fixture
def potcars(tmp_path: Path) -> Path:
    for name in ("Fe", "O"):
        (tmp_path / "potcars" / name).mkdir(parents=True)
        (tmp_path / "potcars" / name / "POTCAR").write_text(f"SECRET PAW_PBE {name}\n")
    return tmp_path / "potcars"


def settings(potcars: Path, **more: object) -> vasp.Vasp:
    given = {"engine": "vasp", "potcars": str(potcars), "kspacing": 0.5, "command": ["vasp_ncl"], "input": RADII}
    return vasp.Vasp.model_validate({**given, **more})


def oxide() -> Frame:
    positions = np.array([[0.0, 0, 0], [1.5, 1.5, 1.5], [1.5, 0, 0]])
    return Frame(
        np.array([26, 8, 26]), positions, 3 * np.eye(3), True, {"spin": [[1.0, 2, 3], [0, 0, 0.1], [0, 0, -2]]}
    )


def iron(moments: Floats = MOMENTS) -> Frame:
    positions = np.array([[0.0, 0, 0], [1.43701, 1.43328, 1.43586]])
    return Frame(np.array([26, 26]), positions, 2.87 * np.eye(3), True, {"spin": moments})


@pytest.fixture
def recorded(put: Put) -> Path:
    """The recorded OUTCAR with the lines that its authors left out."""
    path = put("vasp-6.6.0-deltaspin.OUTCAR", "OUTCAR")
    text = path.read_text().replace("--- Ionic step ", ITERATION + "--- Ionic step ", 1)
    path.write_text(text + " General timing and accounting informations for this job:\n")
    return path


def read(given: vasp.Vasp, frame: Frame, folder: Path) -> Labels | LabelFailure:
    return vasp.VaspLabeler(given).read(given, frame, folder)


def oszicar(field: Floats = FIELD, weight: float = 20.0, *, penalty: float | None = None, sign: int = 1) -> str:
    """As VASP's own penalty writes it, of moments within RWIGS."""
    worth = (field**2).sum() / weight if penalty is None else penalty
    reached = MOMENTS + sign * field / weight
    integrals = "".join(
        f"{ion:3d}" + "".join(f"{x:7.3f}" for x in row) + "  " + "".join(f"{1.3 * x:7.3f}" for x in row) + "\n"
        for ion, row in enumerate(reached, 1)
    )
    fields = "".join(f"{ion:3d}" + "".join(f"{x:14.5E}" for x in row) + "\n" for ion, row in enumerate(field, 1))
    return (
        f" E_p = {worth:12.5E}  lambda = {weight:10.3E}\n<lVp>=  0.30680E-02\n DBL = -0.30680E-02\n"
        f" ion        MW_int                 M_int\n{integrals}DAV:   9    -0.14E+02   -0.91E-06   -0.18E-08  4188\n"
        "   1 F= -.14386334E+02 E0= -.14372438E+02  d E =0.000000E+00  mag=     0.0000     0.0000     5.3540\n\n"
        f" E_p = {worth:12.5E}  lambda = {weight:10.3E}\n ion             lambda*MW_perp\n{fields}"
    )


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        (
            {"deltaspin": {"elements": ["Fe"]}},
            {"LDELTASPIN": ".TRUE.", "DELTASPIN_ATOMS": "0 1 1", "DELTASPIN_COMPONENTS": "1 1 1", "LORBIT": "11"},
        ),
        (
            {"deltaspin": {"elements": ["Fe"], "patch": "vasp5"}},
            {"I_CONSTRAINED_M": "2", "SCTYPE": "1", "CONSTRL": "0 0 0 1 1 1 1 1 1", "LAMBDA": "9*0"},
        ),
        (
            {"constrained_moments": {"elements": ["Fe"], "weight": 20}},
            {"I_CONSTRAINED_M": "2", "LAMBDA": "20.0", "RWIGS": "0.8 1.2"},
        ),
    ],
)
def test_moments_are_held_where_the_frame_says(potcars: Path, how: dict[str, object], wanted: dict[str, str]) -> None:
    given = settings(potcars, **how)
    tags = read_incar(str(vasp.VaspLabeler(given).files(given, oxide())["INCAR"]))
    assert {name: tags[name] for name in wanted} == wanted
    assert (tags["LNONCOLLINEAR"], tags["ISYM"]) == (".TRUE.", "-1")
    bare = {"engine": "vasp", "potcars": str(potcars), "kspacing": 1, "input": RADII}
    assert vasp.Vasp.model_validate({**bare, **how}).command == ["vasp_ncl"]
    target = tags["M_DELTASPIN" if "LDELTASPIN" in tags else "M_CONSTR"]
    for moments in (target, tags["MAGMOM"]):
        np.testing.assert_allclose(np.array(moments.split(), float).reshape(3, 3), [[0, 0, 0], [1, 2, 3], [0, 0, -2]])


def test_what_deltaspin_of_vasp_6_has_written(potcars: Path, recorded: Path) -> None:
    given = settings(potcars, deltaspin={"elements": ["Fe"]})
    found = read(given, iron(), recorded.parent)
    assert isinstance(found, Labels), found
    assert found.energy == -14.38633426
    np.testing.assert_allclose(found.forces[0], [0.018706, -0.016027, -0.005289])
    assert found.force_mag is not None
    np.testing.assert_allclose(found.force_mag[1], [-0.0072805932, 0.0000003982, 0.0518628325], atol=1e-10)
    assert found.virial is not None
    np.testing.assert_allclose(np.diag(found.virial), [2.25453, 2.25564, 0.90956], atol=1e-3)
    plain = settings(potcars)
    assert isinstance(read(plain, iron(), recorded.parent), Labels)


def test_labels_come_back_in_the_order_of_the_frame(potcars: Path, recorded: Path) -> None:
    """VASP has oxygen first; DeltaSpin's first table leaves out the atom whose moment is free."""
    text, frame, order = recorded.read_text(encoding="utf-8"), oxide(), (1, 0, 2)
    iron_line = next(line for line in text.splitlines() if line.startswith(" POTCAR"))
    text = text.replace(iron_line, f"{iron_line.replace('Fe', 'O')}\n{iron_line}")
    text = text.replace("type =               2", "type = 1 2")
    text = text.replace("2.870000000", "3.000000000").replace("0.348432056", "0.333333333")
    rows = ("     1   Fe", "     2   Fe", "      0.00000      0.0", "      1.43701")
    lines = [line for line in text.splitlines() if not line.startswith(rows)]
    for number, place in enumerate(order, 1):
        moment, position = np.asarray(frame.spins)[place], frame.positions[place]
        for title, values in (("|M|", [*moment, 0]), ("MFz", [number, 0, -number])):
            at = next(index for index, line in enumerate(lines) if line.endswith(title)) + 1 + number
            flag, symbol = ("0", "O") if place == 1 else ("1", "Fe")
            if title == "MFz" or place != 1:
                row = f"{number} {symbol} {flag} {flag} {flag} " + " ".join(f"{value:.10f}" for value in values)
                lines.insert(at - (title == "|M|"), row)
        at = next(index for index, line in enumerate(lines) if "TOTAL-FORCE" in line) + 1 + number
        lines.insert(at, " ".join(f"{value:.5f}" for value in (*position, number, 0, 0)))
    recorded.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = read(settings(potcars, deltaspin={"elements": ["Fe"]}), frame, recorded.parent)
    assert isinstance(found, Labels), found
    assert found.forces[:, 0].tolist() == [2, 1, 3]
    assert found.force_mag is not None
    assert found.force_mag.tolist() == [[2, 0, -2], [0, 0, 0], [3, 0, -3]]


@pytest.mark.parametrize(
    ("old", "new", "kind", "reason"),
    [
        ("constraint      : reached", "constraint      : not reached", "unconverged", "moment constraint: not reached"),
        ("spin_lambda for L=E+", "spin_lambda for L=E-", "invalid", "the sign of its magnetic forces is not known"),
        ("0.0518581897", "************", "incomplete", "no moment or no magnetic force of ion 1"),
        ("2.6770000828", "2.5770000828", "unconverged", "one is 0.1 μB from where it was to be"),
        ("DeltaSpin final status", "", "incomplete", "says nothing of DeltaSpin"),
    ],
)
def test_a_doubtful_outcar_gives_no_labels(
    potcars: Path, recorded: Path, old: str, new: str, kind: str, reason: str
) -> None:
    text = recorded.read_text(encoding="utf-8")
    assert old in text
    recorded.write_text(text.replace(old, new), encoding="utf-8")
    answer = read(settings(potcars, deltaspin={"elements": ["Fe"]}), iron(), recorded.parent)
    assert reason in failed(answer, kind)


def test_what_deltaspin_of_vasp_5_writes(potcars: Path, recorded: Path) -> None:
    """In the form that dpdata's pull request 728 and DeltaSpin's own scripts read."""
    given = settings(potcars, deltaspin={"elements": ["Fe"], "patch": "vasp5"})
    assert "no moment or no magnetic force of ion 1" in failed(read(given, iron(), recorded.parent), "incomplete")
    rows = "".join(
        f"{ion:4d}" + "".join(f"{x:12.7f}" for x in (*moment, 0, 0, 0)) + "\n" for ion, moment in enumerate(MOMENTS, 1)
    )
    forces = "".join(f"{ion:4d}" + "".join(f"{x:13.7f}" for x in row) + "\n" for ion, row in enumerate(FIELD, 1))
    longer = "".join(
        f"{ion:4d}" + "".join(f"{x:13.7f}" for x in (9, 9, 9, *row)) + "\n" for ion, row in enumerate(FIELD, 1)
    )
    for table in (forces, longer):
        text = f"ion   MW_current\n{rows} ion  lambda\n{rows}  \nion  Magnetic Force\n{table}  \n"
        (recorded.parent / "OSZICAR").write_text(text.replace("0.35", "0.99") + text)
        found = read(given, iron(), recorded.parent)
        assert isinstance(found, Labels), found
        assert found.force_mag is not None
        np.testing.assert_allclose(found.force_mag, FIELD)


def test_the_field_of_the_penalty_in_vasps_manual(put: Put) -> None:
    """Its size and its sign follow from numbers of one real run: E_p = Σ field²/λ, and <lVp> = 2 Σ field · MW_int."""
    path = put("vasp-manual-constrained.OSZICAR", "OSZICAR")
    wanted = np.array([[-0.565, 0, 0], [0.565, 0, 0]] * 2)
    found = read_penalty(path.parent, wanted, 50.0)
    assert isinstance(found, MagneticOutput), found
    assert found.penalty == 0.366e-7
    assert ((found.forces / 2) ** 2).sum() / 50 == pytest.approx(found.penalty, rel=2e-3)
    assert (found.forces * wanted).sum() == pytest.approx(0.3068e-2, rel=5e-3), "<lVp>"


def test_the_penalty_is_taken_off(potcars: Path, recorded: Path) -> None:
    """Through the program and the gate that every label passes, which wants no virial of such labels."""
    program, outputs = recorded.parent / "vasp_ncl", recorded.parent
    program.write_text(f"#!/bin/sh\ncp {outputs}/OUTCAR {outputs}/OSZICAR .\n", encoding="utf-8")
    program.chmod(0o755)
    (outputs / "OSZICAR").write_text(oszicar(), encoding="utf-8")
    given = settings(potcars, constrained_moments={"elements": ["Fe"], "weight": 20.0}, command=[str(program)])
    [found] = vasp.VaspLabeler(given).label([iron()], outputs / "work")
    assert isinstance(found, Labels), found
    assert found.force_mag is not None
    np.testing.assert_allclose(found.force_mag, 2 * FIELD, rtol=1e-4)
    worth = (FIELD**2).sum() / 20
    moved = (2 * FIELD * FIELD / 20).sum()
    assert found.energy == pytest.approx(-14.38633426 - worth + moved, abs=1e-7)
    assert found.virial is None
    assert not given.gives_virial


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        (oszicar(30 * FIELD), "refused", "leaves a moment 0.075 μB from where it was to be"),
        (oszicar(penalty=1e-3), "invalid", "E_p = 0.001 eV is not"),
        (oszicar(weight=10.0), "invalid", "lambda = 10 eV/μB², and it was to be 20"),
        (oszicar(sign=-1), "invalid", "the field has another sign"),
        (oszicar().split("lambda*MW_perp")[0], "incomplete", "no field lambda*MW_perp"),
        ("", "incomplete", "there is no OSZICAR"),
    ],
)
def test_a_penalty_in_doubt_gives_no_labels(potcars: Path, recorded: Path, text: str, kind: str, reason: str) -> None:
    given = settings(potcars, constrained_moments={"elements": ["Fe"], "weight": 20.0})
    (recorded.parent / "OSZICAR").write_text(text)
    assert reason in failed(read(given, iron(), recorded.parent), kind)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"constrained_moments": {"elements": ["Fe"], "weight": 5}}, "both hold moments"),
        ({"command": ["mpirun", "-np", "4", "vasp_std"]}, "vasp_std: moments in all directions need .* `vasp_ncl`"),
        ({"magnetic_moments": {"Fe": 2.2}}, "magnetic_moments: moments are held where each frame has them"),
        ({"input": {"MAGMOM": "0 0 5 0 0 5"}}, "INCAR: MAGMOM: moments are held where each frame has them"),
        ({"input": {"LDELTASPIN": True}}, r"LDELTASPIN = True: it holds moments, .* give label.deltaspin"),
        ({"input": {"SAXIS": "1 0 0"}}, "SAXIS = 1 0 0"),
        ({"input": {"LNONCOLLINEAR": False}}, "LNONCOLLINEAR is off"),
        ({"input": {"ISYM": 2}}, "ISYM = 2: moments that are held break symmetries"),
        ({"input": {"DELTASPIN_CONSTRAINT_MODE": 1}}, "not directions alone"),
        ({"deltaspin": {"elements": ["Fe"], "patch": "vasp5"}, "input": {}}, r"RWIGS: .* `RWIGS: \{Fe: 1.2\}`"),
    ],
)
def test_settings_that_hold_no_moments(potcars: Path, change: dict[str, object], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        settings(potcars, **{"deltaspin": {"elements": ["Fe"]}, **change})


def test_moments_that_cannot_be_held_are_refused(potcars: Path) -> None:
    given = settings(potcars, constrained_moments={"elements": ["Fe"], "weight": 20.0})
    code = vasp.VaspLabeler(given)
    with pytest.raises(ValueError, match="the moments of Fe are held, and the frame has none"):
        code.files(given, iron().with_fields(spin=None))
    with pytest.raises(ValueError, match="VASP takes an M_CONSTR of zero for no constraint"):
        code.files(given, iron(np.array([[0.0, 0, 0], [0, 0, 2]])))
    with pytest.raises(ValueError, match="relaxes no structure while moments are held"):
        code.relaxing_files(given, iron(), OwnRelaxation("none", 10, 0.05, 1.0))


def test_sources_and_start_data_have_the_moments_of_each_step(recorded: Path) -> None:
    """An OUTCAR of two steps; one whose moments did not converge is no label."""
    text = recorded.read_text(encoding="utf-8")
    head, step = text[: text.index("--- Ionic step")], text[text.index("--- Ionic step") :]
    recorded.write_text(head + step + step.replace("0.0072761923", "0.0100000000"), encoding="utf-8")
    for frames in (
        [item.labeled for item in source_frames(recorded, Dialect())], read_source(recorded).frames
    ):  # fmt: skip
        forces = []
        for item in frames:
            assert item is not None
            np.testing.assert_allclose(item.frame.fields["spin"][0], [0.3500000138, -0.0000000001, 2.6770001023])
            forces.append(item.labels.fields["force_mag"][0, 0])
        assert forces == [0.0072761923, 0.01]
    failed = step.replace("Moment constraint      : reached", "Moment constraint      : failed")
    recorded.write_text(head + step + failed, encoding="utf-8")
    assert [item.problem for item in source_frames(recorded, Dialect())] == [
        "", "unconverged: DeltaSpin: moment constraint: failed",
    ]  # fmt: skip
    assert read_source(recorded).index == [0]
    [first, _] = source_frames(recorded, Dialect(format="vasp/outcar"))
    assert first.unread == ("moments of DeltaSpin are not read by dpdata; leave `format` out",)
