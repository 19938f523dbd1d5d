"""Claims that no stage measures yet: their rows say "not run" and why."""

from stages.report.evidence import Evidence, NotMeasured
from stages.report.verdict import Claim, ClaimFamily, Finding

claims = ClaimFamily()


def register_unmeasured(id: str, section: str, statement: str, paper: str, needed: str) -> None:
    """Registers a claim that is not run; `needed`: what a measurement needs."""

    def measure(evidence: Evidence) -> Finding:
        raise NotMeasured(f"no stage measures it yet; it needs {needed}")

    claims.append(Claim(id, section, statement, paper, measure))


register_unmeasured(
    "post-05", "4.1.4", "Masking formatting tokens and the NLL term keep DPO stable", "yes", "DPO without either"
)
register_unmeasured(
    "post-06",
    "4.2.3",
    "Pruning by topic, quality, difficulty and similarity gives better SFT data",
    "gains",
    "SFT on random samples with as many tokens",
)
register_unmeasured("post-08", "4.3.1", "The code expert gives better code data", "yes", "a code expert")
register_unmeasured(
    "post-09", "4.3.1", "Execution feedback corrects wrong solutions", "about 20%", "a second try with the error"
)
register_unmeasured(
    "post-10", "4.3.1", "Translated code helps uncommon programming languages", "yes", "a second programming language"
)
register_unmeasured("post-11", "4.3.2", "The multilingual expert helps other languages", "yes", "a multilingual expert")
register_unmeasured(
    "post-12", "4.3.3", "Verified step-wise traces help reasoning", "yes", "SFT with and without filtered traces"
)
register_unmeasured(
    "post-13",
    "4.3.4",
    "0.1% of synthetic long-context data keeps long context without hurting short context",
    "yes",
    "long dialogs in SFT",
)
register_unmeasured(
    "post-14", "4.3.6", "Probing makes the model know what it knows", "yes", "SFT on refusals of unknown facts"
)
register_unmeasured(
    "safe-03", "5.4.3", "Smaller members need more safety data", "yes", "safety tuning at several shares per member"
)
register_unmeasured("safe-09", "5.4.7", "The guard cuts violations", "-65% on average", "a guard model")
register_unmeasured(
    "safe-10", "5.4.2", "Memorization is low and grows with size", "1.13% (405B)", "continuations of training text"
)
