"""What a stage of ``dvc.yaml`` runs: ``python -m btsee_lib.pipeline``."""
