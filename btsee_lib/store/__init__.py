"""Artefacts with fingerprints, the results that take long, and what a notebook leaves behind."""

from btsee_lib.compute import set_up_torch
from btsee_lib.config import params
from btsee_lib.store.measured import measured_backbones, measured_comparison, measured_table
from btsee_lib.store.own_visits import load_own_visits, make_own_visits
from btsee_lib.store.reports import Report, claims_of_profiles, made_model, made_table, show
from btsee_lib.store.results import (
    cost_model,
    load_backbone,
    load_data,
    load_results,
    load_stored_features,
    load_trees,
    make_backbone,
    make_features,
    make_trees,
)
from btsee_lib.store.rival_results import measured_rivals
from btsee_lib.store.studies import make_studies
