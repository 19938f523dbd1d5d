"""What a choice of the recipe is worth: small models trained with it and without it, over several seeds.

No stage of the default run: `ablations/dvc.yaml` names them, the ledger reads what they last found.
"""
