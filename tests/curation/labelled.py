"""Documents for classifiers."""

import random

from stages.curation.classification.classifier import Features
from stages.curation.documents import Document
from tests.curation.samples import PROSE, document

FEATURES = Features(characters=2000, ngrams=2, hash_bits=14, dimension=8, rate=0.3, epochs=20, folds=3, sample=10_000)
GERMAN = "Der Fluss fließt durch die alte Stadt und unter zwei Brücken hindurch, bevor er das Meer erreicht."


def corpus(number: int = 60) -> list[Document]:
    """Encyclopaedia, forms, sums and functions, of which a classifier can tell each from the others."""
    generator = random.Random(0)
    rows = []
    sentences = PROSE.split(". ")
    labels = ["Name", "Password", "Email", "Login", "Register", "Submit", "Address", "Forgot", "Remember"]
    for n in range(number):
        rows.append(document(". ".join(generator.choices(sentences, k=5)) + f" {n}", source="wikipedia"))
        rows.append(document(" * ".join(generator.choices(labels, k=20)) + f" {n}", source="forms"))
        sums = [(generator.randrange(10), generator.randrange(10)) for _ in range(20)]
        rows.append(document(" ".join(f"{a} + {b} = {a + b}." for a, b in sums) + f" {n}", source="sums"))
        names = generator.choices("abcxyz", k=5)
        body = "\n".join(f"def {name}(x):\n    return x[{n}] * {name}(x)" for name in names)
        rows.append(document(body, source="python", media="code", code=[[0, 9]]))
        rows.append(document(f"{GERMAN} {GERMAN} {n}", source="german" if n % 2 else "unlabelled", language="de"))
    return rows
