"""Keys of pw.x's namelists: those that ASE knows (of Quantum ESPRESSO 7), and those of older and newer versions."""

from __future__ import annotations

import difflib
import functools

OTHERS = {
    "control": {"lfcpopt", "monopole"},
    "system": {
        "lda_plus_u", "lda_plus_u_kind", "hubbard_u", "hubbard_j", "hubbard_j0", "hubbard_v", "hubbard_parameters",
        "u_projection_type", "nelup", "neldw", "nelec", "multiplicity", "ts_vdw", "yukawa", "nelec_cond", "nbnd_cond",
        "degauss_cond", "london_s6", "london_rcut",
    },
    "electrons": set[str](),
}  # fmt: skip
"""Until Quantum ESPRESSO 7.1 parameters of Hubbard were keys, since then they are a card."""
OF_SPECIES = ("starting_magnetization", "starting_charge", "angle1", "angle2", "hubbard_u", "hubbard_j0")
"""Keys of the namelist system that pw.x reads for each species."""


@functools.cache
def known_keys() -> dict[str, set[str]]:
    """Keys in small letters by namelist. ASE's readers and writers, which it imports with them, take half a second."""
    from ase.io.espresso_namelist.keys import pw_keys

    return {
        namelist: {key.partition("(")[0].lower() for key in pw_keys[namelist]} | others
        for namelist, others in OTHERS.items()
    }


def check_key(namelist: str, key: str) -> None:
    """Raise ValueError when pw.x has no such key in this namelist: it would stop, or read another one."""
    name = key.partition("(")[0].strip().lower()
    keys = known_keys()
    if name in keys[namelist]:
        return
    elsewhere = next((other for other, names in keys.items() if name in names), None)
    if elsewhere is not None:
        raise ValueError(f"input.{namelist}.{key}: pw.x reads this key in the namelist {elsewhere}")
    near = difflib.get_close_matches(name, keys[namelist], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"input.{namelist}.{key}: the namelist {namelist} of pw.x has no such key{hint}")


def check_value(namelist: str, key: str, value: object) -> None:
    """Raise ValueError for a value that a namelist cannot have, and for one of a species that is not named."""
    if isinstance(value, list | dict) or value is None:
        raise ValueError(f"input.{namelist}.{key}: {value!r}: a key of pw.x has a number, a word, or true or false")
    if namelist == "system" and key.strip().lower() in OF_SPECIES:
        raise ValueError(f"input.system.{key}: it is of a species; name the element, for example {key}(Fe): {value}")
