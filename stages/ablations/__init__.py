"""The effect of single choices of the recipe: small models trained with and without a choice, over several seeds.

The default run does not run these stages. `ablations/dvc.yaml` does, and the ledger reads their last results.
"""
