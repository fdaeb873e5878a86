"""What labeled data must be to pass, whatever the door: every case was taken in silence once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.data.dataset import Item, Origin, write_dataset
from lamflow.data.gate import SeenLabels, repeats
from lamflow.data.io import read_labeled, read_source, read_structures, write_extxyz
from lamflow.data.sources import Dialect, source_frames
from lamflow.data.steps import steps_of
from lamflow.engines.emt import Emt, EmtEvaluator
from lamflow.errors import InputError


@pytest.fixture
def labeled(copper: list[Frame]) -> list[LabeledFrame]:
    labels = EmtEvaluator(Emt()).evaluate(copper[:6])
    return [LabeledFrame(frame, label) for frame, label in zip(copper[:6], labels, strict=True)]


@pytest.fixture
def extxyz(labeled: list[LabeledFrame], tmp_path: Path) -> Path:
    write_extxyz(tmp_path / "cu.extxyz", labeled)
    return tmp_path / "cu.extxyz"


@pytest.fixture
def system(labeled: list[LabeledFrame], tmp_path: Path) -> Path:
    items = [Item(item, Origin(iteration=0, source=f"x#{number}")) for number, item in enumerate(labeled)]
    write_dataset(tmp_path / "set", items, ["Cu"], "deepmd/npy")
    [file] = (tmp_path / "set").rglob("type.raw")
    return file.parent


def changed(text: str, line: int, old: str, new: str) -> str:
    """`text` with something else in one of its lines, the first one 1."""
    lines = text.splitlines()
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    return "\n".join(lines) + "\n"


def stress_of_nine(text: str) -> str:
    lines = text.splitlines()
    lines[1] = lines[1][: lines[1].index("stress=")] + 'stress="0.1 0.5 0 0 0.1 0 0 0 0.1" pbc="T T T"'
    return "\n".join(lines) + "\n"


def virial_with_the_sign_of_the_stress(text: str) -> str:
    lines = text.splitlines()
    stress = lines[1].split('stress="')[1].split('"')[0]
    cell = np.array(lines[1].split('Lattice="')[1].split('"')[0].split(), dtype=float).reshape(3, 3)
    virial = np.array(stress.split(), dtype=float) * np.linalg.det(cell)
    lines[1] += f' virial="{" ".join(map(str, virial))}"'
    return "\n".join(lines) + "\n"


def energy_of_three(text: str) -> str:
    lines = text.splitlines()
    word = next(word for word in lines[1].split() if word.startswith("energy="))
    lines[1] = lines[1].replace(word, 'energy="1 2 3"')
    return "\n".join(lines) + "\n"


def second_atom_on_the_first(text: str) -> str:
    lines = text.splitlines()
    lines[3] = lines[2]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: changed(text, 11, "8", "\n8"), "line 11: empty, and readers lose the frames after it"),
        (lambda text: changed(text, 21, "8", "9"), "line 31: cannot be read|not|could"),
        (lambda text: text[: text.rindex("Cu")], "frame 5 is cut off: 1 atoms are missing"),
        (lambda text: "0\npbc=\"T T T\" Lattice=\"3 0 0 0 3 0 0 0 3\" energy=0\n" + text, "frame 0|structure|no atoms"),
        (energy_of_three, r"frame 0: energy has shape \(3,\)"),
        (second_atom_on_the_first, "atoms 0 and 1 are 0.000 Å apart"),
        (stress_of_nine, "line 2: the stress is not symmetric: two components differ by 0.5"),
        (virial_with_the_sign_of_the_stress, "its stress and its virial differ.*the other sign"),
        (lambda text: changed(text, 2, "energy=", "electronic_temperature=-5 energy="), "temperature is -5 K"),
        (lambda text: changed(text, 2, "energy=", "electronic_temperature=T energy="), "values of type bool"),
        (lambda text: changed(text, 3, "Cu ", "D "), "'D' is not a chemical symbol"),
        (lambda text: changed(text, 3, "Cu ", "X "), "0 is not the atomic number"),
        (lambda text: changed(text, 4, text.splitlines()[3].split()[1], "nan"), "1 atoms have a position that is not"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used(extxyz: Path, change: Callable[[str], str], expected: str) -> None:
    extxyz.write_text(change(extxyz.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(InputError, match=expected) as caught:
        read_labeled(extxyz)
    assert "cu.extxyz" in str(caught.value)


def test_a_file_that_ends_in_empty_lines_is_whole(extxyz: Path) -> None:
    extxyz.write_text(extxyz.read_text(encoding="utf-8") + "\n  \n", encoding="utf-8")
    assert len(read_labeled(extxyz)) == 6


def test_compressed_files_are_counted_too(extxyz: Path) -> None:
    import gzip

    path = extxyz.with_name("cu.extxyz.gz")
    path.write_bytes(gzip.compress(changed(extxyz.read_text(encoding="utf-8"), 11, "8", "\n8").encode()))
    with pytest.raises(InputError, match="line 11: empty"):
        read_labeled(path)


def scaled(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: array * factor


def one_is_nan(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flat[0] = np.nan
    return array


def flat(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array[:, 8] = 0
    return array


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("force", lambda array: array > 0, "values of type bool; labels are real numbers"),
        ("force", lambda array: array.astype(complex), "values of type complex128"),
        ("force", lambda array: array[:-1], r"force.npy: shape \(5, 24\), where \(6, 24\) is needed"),
        ("energy", lambda array: array.astype(int), "values of type int64"),
        ("energy", lambda array: array.astype("U"), "values of type <U"),
        ("energy", scaled(np.inf), "the energy is -?inf eV"),
        ("coord", one_is_nan, "frame 0: 1 atoms have a position that is not finite"),
        ("box", one_is_nan, "frame 0: its cell is not finite"),
        ("box", scaled(0.0), "its cell has 0 Å³ for 8 atoms"),
        ("box", flat, "Å³ for 8 atoms"),
        ("box", scaled(0.1), "lengths are in Å"),
        ("virial", lambda array: array + np.arange(9.0), "is not symmetric"),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_used(
    system: Path, name: str, change: Callable[[np.ndarray], np.ndarray], expected: str
) -> None:
    [file] = system.glob(f"set.*/{name}.npy")
    np.save(file, change(np.load(file)))
    with pytest.raises(InputError, match=expected):
        read_labeled(system.parent)


def test_an_array_of_objects_is_not_opened(system: Path) -> None:
    [file] = system.glob("set.*/energy.npy")
    np.save(file, np.array([{}] * 6, dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"energy.npy: cannot be read"):
        read_labeled(system)


@pytest.mark.parametrize(
    ("values", "expected"),
    [(np.full((6, 1), np.nan), "electronic_temperature is not finite"), (np.full((6, 2), 1.0), r"fparam.npy: shape")],
)
def test_frame_parameters_that_cannot_be_used(system: Path, values: np.ndarray, expected: str) -> None:
    np.save(next(system.glob("set.*")) / "fparam.npy", values)
    with pytest.raises(InputError, match=expected):
        read_labeled(system)


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("type.raw", "0.5\n" * 8, "types are whole numbers"),
        ("type.raw", "1\n" * 8, "types 0 to 0, as type_map.raw says, and one is 1"),
        ("type.raw", "0\n" * 7, "coord.npy: shape"),
        ("type_map.raw", "D\n", "'D' is not a chemical symbol"),
        ("type_map.raw", "Type_0\n", "'Type_0' is not a chemical symbol"),
        ("type_map.raw", "", "give the data a type_map.raw"),
    ],
)
def test_types_are_named(system: Path, file: str, text: str, expected: str) -> None:
    (system / file).write_text(text)
    with pytest.raises(InputError, match=expected):
        read_labeled(system)


def test_names_of_types_that_do_not_occur_do_no_harm(system: Path) -> None:
    (system / "type_map.raw").write_text("Cu MASKED\n")
    assert len(read_labeled(system)) == 6


def mixed(system: Path, types: np.ndarray) -> Path:
    np.save(next(system.glob("set.*")) / "real_atom_types.npy", types)
    (system / "type_map.raw").write_text("Cu Al\n")
    return system


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (np.zeros((5, 8), int), r"real_atom_types.npy: shape \(5, 8\), where \(6, 8\) is needed"),
        (np.full((6, 8), -1), "frame 0: it has no atoms"),
        (np.full((6, 8), 7), "and one is 7"),
        (np.full((6, 8), 0.5), "types are whole numbers"),
    ],
)
def test_mixed_sets_that_cannot_be_used(system: Path, types: np.ndarray, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        read_labeled(mixed(system, types))


def test_a_mixed_set_with_frame_parameters_and_compositions(system: Path) -> None:
    """3 and 4 atoms of another element, one temperature a frame, and virtual atoms."""
    types = np.zeros((6, 8), int)
    types[3:, :4] = 1
    types[5, 6:] = -1
    np.save(next(system.glob("set.*")) / "fparam.npy", np.arange(1.0, 7.0).reshape(6, 1))
    frames = [item.frame for item in read_labeled(mixed(system, types))]
    assert [frame.to_ase().get_chemical_formula() for frame in frames] == ["Cu8"] * 3 + ["Al4Cu4"] * 2 + ["Al4Cu2"]
    assert [frame.electronic_temperature for frame in frames] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


@pytest.mark.parametrize(("format", "mixture"), [("deepmd/npy", True), ("deepmd/npy/mixed", False)])
def test_a_format_that_is_not_what_lies_there(system: Path, format: str, mixture: bool) -> None:
    if mixture:
        mixed(system, np.zeros((6, 8), int))
    with pytest.raises(InputError, match=f"not {format}; leave `format` out"):
        read_labeled(system, format)


def test_a_format_may_be_named_for_a_folder_of_systems(system: Path) -> None:
    assert len(read_labeled(system.parent, "deepmd/npy")) == 6


def test_links_are_followed(system: Path, tmp_path: Path) -> None:
    from lamflow.data.files import content_hash

    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a").symlink_to(system)
    (tmp_path / "links" / "b").symlink_to(tmp_path / "links")
    assert len(read_labeled(tmp_path / "links")) == 6
    before = content_hash(tmp_path / "links")
    (system / "type_map.raw").write_text("Al\n")
    assert content_hash(tmp_path / "links") != before


def test_labels_that_are_all_zero(copper: list[Frame]) -> None:
    nothing = Labels(0.0, np.zeros((8, 3)), np.zeros((3, 3)))
    assert "has found nothing" in (nothing.problem(copper[0]) or "")
    atom = Frame(np.array([29]), np.zeros((1, 3)), np.eye(3) * 9)
    assert Labels(0.0, np.zeros((1, 3))).problem(atom) is None, "an atom alone may be the zero of energy"


def test_the_same_labels_for_two_structures(labeled: list[LabeledFrame]) -> None:
    seen = SeenLabels()
    first, second = labeled[:2]
    assert seen.problem(first.frame, first.labels) is None
    assert seen.problem(second.frame, second.labels) is None
    assert "one label was read twice" in (seen.problem(labeled[2].frame, first.labels) or "")
    assert seen.problem(first.frame, first.labels) is None, "the same structure again"
    shifted = Frame(first.frame.numbers, first.frame.positions + np.array([5.0, 0.3, -0.2]), first.frame.cell)
    assert seen.problem(shifted, first.labels) is None, "labels do not change when a structure is shifted"


def test_a_file_with_one_label_for_all(labeled: list[LabeledFrame], tmp_path: Path) -> None:
    write_extxyz(tmp_path / "x.extxyz", [LabeledFrame(item.frame, labeled[0].labels) for item in labeled])
    with pytest.raises(InputError, match=r"frame 1: its labels are those of another structure"):
        read_labeled(tmp_path / "x.extxyz")


def test_repeats_and_conflicts_are_counted(labeled: list[LabeledFrame]) -> None:
    first = labeled[0]
    other = LabeledFrame(first.frame, Labels(first.labels.energy + 1.5, first.labels.forces))
    frames = [*labeled, first, other]
    found = repeats([item.frame.content_hash() for item in frames], frames)
    assert (found.repeated, found.conflicts, found.difference) == (2, 1, pytest.approx(1.5))
    assert found.example == (0, 7)
    text = found.says([f"f#{number}" for number in range(8)])
    assert text is not None
    assert "2 frames repeat" in text
    assert "f#7 that of f#0" in text
    assert "1 of them have another energy, by up to 1.5 eV" in text
    assert repeats(["a", "b"], labeled[:2]).says(["a", "b"]) is None


class TestNamesOfLabels:
    @pytest.fixture
    def renamed(self, extxyz: Path) -> Path:
        text = (
            extxyz.read_text(encoding="utf-8")
            .replace("energy=", "REF_energy=")
            .replace(":forces:R:3", ":REF_forces:R:3")
        )
        extxyz.write_text(text.replace("stress=", "REF_stress="), encoding="utf-8")
        return extxyz

    def test_they_are_named_when_labels_are_missing(self, renamed: Path) -> None:
        with pytest.raises(InputError, match=r"keys: \{energy: REF_energy, forces: REF_forces, stress: REF_stress\}"):
            read_labeled(renamed)

    def test_a_setting_maps_them(self, renamed: Path, labeled: list[LabeledFrame]) -> None:
        keys = {"energy": "REF_energy", "forces": "REF_forces", "stress": "REF_stress"}
        for one, other in zip(labeled, read_labeled(renamed, keys=keys), strict=True):
            assert other.labels.energy == pytest.approx(one.labels.energy)
            assert other.labels.virial is not None
            np.testing.assert_allclose(other.labels.forces, one.labels.forces, atol=1e-7)
            assert one.labels.virial is not None
            np.testing.assert_allclose(other.labels.virial, one.labels.virial, atol=1e-6)

    def test_one_that_is_not_there(self, renamed: Path) -> None:
        with pytest.raises(InputError, match=r"has no dft_energy, which keys\.energy names"):
            read_labeled(renamed, keys={"energy": "dft_energy"})


OUTCAR_STEP = """\
  FORCE on cell =-STRESS in cart. coord.  units (eV):
  Direction    XX          YY          ZZ          XY          YZ          ZX
  --------------------------------------------------------------------------------------
PARTS  Total        4.80838     4.67337     6.08988    -0.48226    -0.50947    -0.84244
  in kB      165.13308   160.49626   209.14322   -16.56218   -17.49659   -28.93179

 VOLUME and BASIS-vectors are now :
 -----------------------------------------------------------------------------
  energy-cutoff  :      400.00
  volume of cell :       46.6560
      direct lattice vectors                 reciprocal lattice vectors
    3.600000000  0.000000000  0.000000000    0.277777778  0.000000000  0.000000000
    0.000000000  3.600000000  0.000000000    0.000000000  0.277777778  0.000000000
    0.000000000  0.000000000  3.600000000    0.000000000  0.000000000  0.277777778

 POSITION                                       TOTAL-FORCE (eV/Angst)
 -----------------------------------------------------------------------------------
      0.00000      0.00000      {x:.5f}         {force:.6f}      0.000000      0.000000
      0.00000      1.80000      1.80000        -{force:.6f}      0.000000      0.000000
 -----------------------------------------------------------------------------------
    total drift:                                0.000000      0.000000      0.000000

  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)
  ---------------------------------------------------
  free  energy   TOTEN  =       {energy:.8f} eV

  energy  without entropy=      {energy:.8f}  energy(sigma->0) =      {energy:.8f}

"""


def outcar(version: str, steps: list[tuple[int, bool]], nelm: int = 10, element: str = "Cu") -> str:
    """An OUTCAR of a trajectory: for each step the iterations of its cycle, and whether VASP says that it converged."""
    text = f" vasp.{version} 18Feb22 complex\n POTCAR:    PAW_PBE Cu 01Jan2001\n   VRHFIN ={element}: test\n"
    text += f"   TITEL  = PAW_PBE {element} 01Jan2001\n   ions per type =               2\n"
    text += f"   NELM   =     {nelm};   NELMIN=  2; NELMDL= -5     # of ELM steps\n"
    for number, (cycles, reached) in enumerate(steps, start=1):
        for cycle in range(1, cycles + 1):
            text += f"--------------------------------------- Iteration {number:6d}({cycle:4d})  -----------------\n\n"
        if reached:
            text += " ------------------------ aborting loop because EDIFF is reached ------------------------\n\n"
        text += OUTCAR_STEP.replace("PARTS", "  Part    0.0 0.0 0.0 0.0 0.0 0.0\n" * 10).format(
            x=0.1 * number, force=0.3 * number, energy=-number
        )
    return text


@pytest.mark.parametrize("format", [None, "vasp-out", "vasp/outcar"])
def test_steps_that_did_not_converge_are_left_out_and_counted(tmp_path: Path, format: str | None) -> None:
    path = tmp_path / "OUTCAR"
    path.write_text(outcar("6.3.0", [(5, True), (10, False), (6, True), (10, False)]))
    reading = read_source(path, format)
    assert [item.labels.energy for item in reading.frames] == [-1.0, -3.0]
    assert reading.left_out == 2
    assert reading.notes == ("2 of 4 steps are left out: the SCF cycle of 2 did not converge",)
    read = list(source_frames(path, Dialect(format=format)))
    assert sum(item.problem.startswith("unconverged") for item in read) == 2
    assert [item.labeled.labels.energy for item in read if item.labeled is not None] == [-1.0, -3.0]
    if format != "vasp/outcar":
        assert reading.index == [0, 2]


def test_vasp_5_says_of_every_cycle_that_it_converged(tmp_path: Path) -> None:
    path = tmp_path / "OUTCAR"
    path.write_text(outcar("5.4.4", [(5, True), (10, True)]))
    assert read_source(path).index == [0]
    path.write_text(outcar("6.3.0", [(5, True), (10, True)]))
    assert read_source(path).index == [0, 1]


@pytest.mark.parametrize(
    ("runs", "good"),
    [
        ([("6.3.0", 10, (5, True)), ("6.3.0", 10, (10, False))], [0]),
        ([("6.3.0", 10, (10, False)), ("6.3.0", 10, (5, True))], [1]),
        ([("5.4.4", 10, (5, True)), ("5.4.4", 60, (25, True))], [0, 1]),
        ([("5.4.4", 60, (25, True)), ("5.4.4", 10, (10, True))], [0]),
        ([("6.3.0", 10, (5, True)), ("5.4.4", 10, (10, True))], [0]),
    ],
)
def test_each_run_in_a_file_has_its_own_limit_and_convergence(
    tmp_path: Path, runs: list[tuple[str, int, tuple[int, bool]]], good: list[int]
) -> None:
    """Single points that were appended to each other are all step 1."""
    path = tmp_path / "OUTCAR"
    path.write_text("".join(outcar(version, [step], nelm) for version, nelm, step in runs))
    assert read_source(path).index == good
    assert [item.number for item in source_frames(path, Dialect()) if item.labeled is not None] == good


@pytest.mark.parametrize("format", [None, "vasp/outcar"])
def test_runs_of_other_atoms_in_a_file_are_no_labels(tmp_path: Path, format: str | None) -> None:
    """ASE and dpdata give the elements of the first run to all."""
    path = tmp_path / "OUTCAR"
    path.write_text(outcar("6.3.0", [(5, True)]) + outcar("6.3.0", [(5, True)], element="Al"))
    for read in (read_source, read_structures):
        with pytest.raises(InputError, match="step 1: it is of a run of Al2, and its file begins with one of Cu2"):
            read(path, format)
    if format is None:
        found = [item.problem for item in source_frames(path, Dialect())]
        assert [problem.partition(",")[0] for problem in found] == ["", "schema: it is of a run of Al2"]
    else:
        with pytest.raises(InputError, match="split the file"):
            list(source_frames(path, Dialect(format=format)))


@pytest.mark.parametrize(("accuracy", "converged"), [("9.9E-09", True), ("0.00000001", True), ("0.08092946", False)])
def test_pw_x_says_that_it_converged_where_scf_must_converge_is_false(
    tmp_path: Path, accuracy: str, converged: bool
) -> None:
    path = tmp_path / "pw.out"
    path.write_text(
        "     scf convergence threshold =      1.0E-08\n     energy convergence thresh.=      1.0E-04\n"
        f"     estimated scf accuracy    <       {accuracy} Ry\n"
        "     convergence has been achieved in   1 iterations\n     Forces acting on atoms (cartesian axes, Ry/au):\n"
    )
    steps = steps_of(path, "espresso-out")
    assert steps is not None
    assert steps.converged == (converged,)


def test_an_output_without_any_converged_step(tmp_path: Path) -> None:
    path = tmp_path / "OUTCAR"
    path.write_text(outcar("6.3.0", [(10, False)]))
    with pytest.raises(
        InputError, match="no labeled frame in it: 1 of 1 steps are left out: the SCF cycle of 1 did not"
    ):
        read_labeled(path)


def test_hdf5_files_hold_systems_like_folders(system: Path, labeled: list[LabeledFrame], tmp_path: Path) -> None:
    import dpdata
    import h5py

    path = tmp_path / "cu.hdf5"
    dpdata.LabeledSystem(str(system), fmt="deepmd/npy").to("deepmd/hdf5", f"{path}#/one")
    with h5py.File(path, "a") as file:
        file["one/set.000/fparam.npy"] = np.arange(6.0).reshape(6, 1)
    for format in (None, "deepmd/hdf5"):
        frames = read_labeled(path, format)
        assert [item.frame.electronic_temperature for item in frames] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        for one, other in zip(labeled, frames, strict=True):
            np.testing.assert_allclose(one.labels.forces, other.labels.forces, atol=1e-6)
    assert len(read_structures(path)) == 6
    with h5py.File(path, "a") as file:
        file["one/set.000/force.npy"][0, 0] = np.nan
    with pytest.raises(InputError, match=r"cu.hdf5#/one: frame 0: 1 atoms have a force that is not finite"):
        read_labeled(path)


def test_a_file_that_is_no_hdf5(tmp_path: Path) -> None:
    (tmp_path / "x.hdf5").write_text("nothing")
    with pytest.raises(InputError, match="cannot be read as HDF5"):
        read_labeled(tmp_path / "x.hdf5")
