"""The report: the ledger of claims and one page that shows the whole run."""
