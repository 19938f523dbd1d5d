"""Language, quality and bucket: learnt from weak labels, never scored by a model that saw the document."""

import json
import random
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.metrics import roc_auc_score

from stages.curation import classify, documents
from stages.curation.classification import bucket, classifier, judge
from stages.curation.classification.classifier import Features, Labelled
from stages.curation.classification.ranking import Ranking, place
from stages.curation.classify import Classify, Config
from stages.curation.documents import Document
from stages.curation.extraction import language
from stages.interface import StageError
from tests.curation.samples import PROSE, contents, document, fresh, reasons, store
from tests.recorder import Recorder

FEATURES = Features(characters=2000, ngrams=2, hash_bits=14, dimension=8, rate=0.3, epochs=20, folds=3, sample=10_000)
RULES = {"kind": "rules", "url": None, "model": None, "threshold": 0.0}
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


def config(**quality: object) -> Config:
    good = {
        "positive": ["wikipedia"],
        "negative": ["forms"],
        "threshold": 0.5,
        "buckets": ["general", "multilingual"],
        "lowest": 0.0,
    }
    examples = {"general": ["wikipedia", "forms", "german"], "math": ["sums"], "code": ["python"]}
    bucket = {"examples": examples, "english": 0.5}
    return Config(
        Classify.model_validate({"features": FEATURES, "quality": good | quality, "judge": RULES, "bucket": bucket})
    )


def test_stage_labels_sorts_and_drops(tmp_path: Path) -> None:
    source = store(tmp_path / "in", corpus(), shards=2)
    metrics = classify.run(config(), {"documents": source}, {"documents": fresh(tmp_path / "out")}, Recorder(tmp_path))
    kept = documents.read_all(tmp_path / "out")
    assert {(row["source"], row["bucket"]) for row in kept if row["language"] != "de"} == {
        ("wikipedia", "general"),
        ("sums", "math"),
        ("python", "code"),
    }
    german = [row for row in kept if row["source"] in ("german", "unlabelled")]
    assert german and all((row["language"], row["bucket"]) == ("de", "multilingual") for row in german)
    assert metrics["sources"]["forms"] == {"dropped": 60}
    assert metrics["quality"]["auc"] > 0.99 and min(metrics["classifier"]["auc"].values()) > 0.99
    confusion = metrics["classifier"]["confusion"]
    assert sum(confusion[true][guess] for true in confusion for guess in confusion if true != guess) == 0
    assert sum(entry["documents"] for entry in metrics["buckets"].values()) == metrics["documents_out"] == len(kept)
    again = classify.run(config(), {"documents": source}, {"documents": fresh(tmp_path / "two")}, Recorder(tmp_path))
    assert again == metrics and contents(tmp_path / "two") == contents(tmp_path / "out")


def test_the_threshold_holds_in_its_buckets_only(tmp_path: Path) -> None:
    source = store(tmp_path / "in", corpus(20))
    metrics = classify.run(
        config(threshold=1.0, buckets=["multilingual"]),
        {"documents": source},
        {"documents": fresh(tmp_path / "out")},
        Recorder(tmp_path),
    )
    assert {name: entry["documents"] for name, entry in metrics["buckets"].items()} == {
        "general": 40,
        "math": 20,
        "code": 20,
        "multilingual": 0,
    }


def test_multilingual_documents_are_ranked_within_their_language(tmp_path: Path) -> None:
    source = store(tmp_path / "in", corpus(20), shards=2)
    metrics = classify.run(
        config(threshold=0.0, lowest=0.25),
        {"documents": source},
        {"documents": fresh(tmp_path / "out")},
        Recorder(tmp_path),
    )
    kept = documents.read_all(tmp_path / "out")
    assert metrics["buckets"]["multilingual"]["documents"] == 15 and reasons(metrics) == {"low in its language": 5}
    german = sorted((row["quality"], row["rank"]) for row in kept if row["language"] == "de")
    assert [rank for _, rank in german] == sorted(rank for _, rank in german) and german[0][1] >= 0.25
    english = [row["rank"] for row in kept if row["language"] == "en"]
    assert len(english) == 80 and np.mean(english) == pytest.approx(0.5, abs=1e-6)


def test_a_rank_is_the_share_of_the_language_below() -> None:
    halves = [Ranking(), Ranking()]
    for number, score in enumerate((0.1, 0.9, 0.9, 0.4)):
        halves[number % 2].count("de", score)
    halves[0].count("fr", 0.2)
    halves[0].add(halves[1])
    places = halves[0].places()
    assert [place(places, "de", score) for score in (0.1, 0.4, 0.9)] == [0.125, 0.375, 0.75]
    assert place(places, "fr", 0.2) == 0.5


@pytest.mark.parametrize(
    ("chances", "domain"),
    [
        ({"general": 0.4, "math": 0.35, "reasoning": 0.25}, "math"),  # mathematics and reasoning are one bucket
        ({"general": 0.45, "math": 0.3, "code": 0.25}, "general"),  # no bucket is more likely than not
        ({"code": 0.2, "code_in_text": 0.6, "general": 0.2}, "code_in_text"),
    ],
)
def test_the_domain_is_the_likeliest_of_the_likeliest_bucket(chances: dict[str, float], domain: str) -> None:
    assert bucket.likeliest(list(chances), np.array(list(chances.values()))) == domain


def labelled(rows: list[Document], labels: dict[str, str]) -> list[Labelled]:
    found = []
    for row in rows:
        if label := labels.get(row["source"]):
            found.append(Labelled(row["id"], row["source"], label, classifier.features(row, FEATURES)))
    return found


def fitted(rows: list[Labelled]) -> classifier.Model:
    return classifier.cross_fit({"quality": rows}, FEATURES, Recorder(Path()))["quality"]


def test_a_document_has_no_say_in_its_own_score() -> None:
    rows = labelled(corpus(20), {"wikipedia": "yes", "forms": "no"})
    before = fitted(rows)
    changed = [row._replace(label="no") if n == 0 else row for n, row in enumerate(rows)]
    after = fitted(changed)

    def scores(model: classifier.Model) -> list[list[float]]:
        return [model.probabilities(row.id, row.features).tolist() for row in rows]

    assert scores(before)[0] == scores(after)[0]
    assert scores(before) != scores(after)
    assert scores(fitted(rows[::-1])) == scores(before)


def test_the_network_is_that_of_torch() -> None:
    rows = labelled(corpus(10), {"wikipedia": "yes", "forms": "no"})
    model = fitted(rows)
    row = rows[3]
    number = classifier.fold(row.id, FEATURES.folds)
    bag = torch.nn.EmbeddingBag.from_pretrained(torch.from_numpy(model.embeddings[number]), mode="mean")
    logits = torch.nn.functional.linear(
        bag(torch.from_numpy(row.features)[None]),
        torch.from_numpy(model.weights[number]),
        torch.from_numpy(model.biases[number]),
    )
    assert model.probabilities(row.id, row.features) == pytest.approx(logits.softmax(-1)[0].numpy(), abs=2e-6)


def test_about_as_many_are_sampled_as_asked_for() -> None:
    names = [document(str(n))["id"] for n in range(2000)]
    assert 440 < sum(classifier.sampled(name, 500, 2000) for name in names) < 560
    assert all(classifier.sampled(name, 2000, 2000) for name in names)


def test_the_result_does_not_depend_on_the_cut_into_files(tmp_path: Path) -> None:
    rows = sorted(corpus(20), key=lambda row: row["id"])
    found = []
    for shards in (1, 3):
        source = store(tmp_path / f"in-{shards}", rows, shards)
        out = {"documents": fresh(tmp_path / f"out-{shards}")}
        metrics = classify.run(config(), {"documents": source}, out, Recorder(tmp_path))
        found.append((metrics, documents.read_all(out["documents"])))
    assert found[0] == found[1]


def test_the_rules_approve_of_prose_and_not_of_menus() -> None:
    menu = "Home\nProducts\nPrices\nContact us\nAbout\n" * 10
    code = "def f(x):\n    return x\n" * 20
    questions = "Q: What is the capital of Peru? A: Lima is the capital of Peru. " * 3 + PROSE
    assert judge.approves(document(PROSE)) and judge.approves(document(questions))
    assert judge.approves(document(PROSE.replace(" and ", " and\n")))  # hard-wrapped
    assert not judge.approves(document(menu)) and not judge.approves(document(f"{PROSE[:90]}\n{menu}"))
    assert not judge.approves(document(code, media="code", code=[[0, 39]]))
    assert not judge.approves(document(PROSE.upper()))


@pytest.fixture
def endpoint() -> Iterator[str]:
    """An OpenAI-compatible server that says yes to pages about rivers, and nonsense to an empty page."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            page = body["messages"][0]["content"].split("\n\n", 1)[1]
            word = ("Yes." if "river" in page else "no") if page else "perhaps"
            answer = json.dumps({"choices": [{"message": {"content": word}}], "model": body["model"]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *given: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def test_a_served_model_judges(endpoint: str) -> None:
    served = judge.Judge(kind="endpoint", url=endpoint, model="llama", threshold=0.5)
    assert judge.verdicts([document(PROSE), document("Menu")], served) == [True, False]
    domains = judge.ask([document("A river in math")], bucket.QUESTION, ("math", "yes"), served)
    assert domains == ["yes"]
    with pytest.raises(StageError, match="llama answers 'perhaps', none of yes, no"):
        judge.verdicts([document("")], served)
    nobody = served.model_copy(update={"url": "http://127.0.0.1:9/v1"})
    with pytest.raises(StageError, match=r"curation\.classify\.judge\.url: http://127\.0\.0\.1:9/v1/chat/completions"):
        judge.verdicts([document(PROSE)], nobody)
    with pytest.raises(ValidationError, match="needs url and model"):
        judge.Judge(kind="endpoint", url=None, model=None, threshold=0.5)


def test_auc_equals_the_reference() -> None:
    generator = np.random.default_rng(0)
    positive = generator.random(500) < 0.3
    scores = (generator.random(500) + 0.3 * positive).round(2)
    assert classifier.auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores), abs=1e-6)
    assert classifier.auc(scores, np.ones(500, bool)) is None


def test_the_curve_rises_from_left_to_right() -> None:
    scores, positive = np.array([0.9, 0.8, 0.7, 0.3, 0.2]), np.array([True, False, True, False, False])
    curve = classifier.roc(scores, positive, 2)
    assert [point["true_positive_rate"] for point in curve] == [0.5, 1.0, 1.0]
    assert [point["false_positive_rate"] for point in curve] == [0.3333, 0.6667, 1.0]
    assert classifier.roc(scores, np.ones(5, bool)) == []


def test_a_class_without_examples_is_an_error_with_its_name() -> None:
    rows = labelled(corpus(5), {"wikipedia": "yes"})
    with pytest.raises(StageError, match="too few documents labelled yes to train quality on"):
        fitted(rows)


def test_languages() -> None:
    texts = [PROSE, GERMAN, "東京は日本の首都であり、多くの人々が暮らしている。", "x = 1"]
    rows = [document(text) for text in texts[:3]] + [document(texts[3], media="code", code=[[0, 0]])]
    found = language.identify(rows, 500)
    assert [code for code, _ in found] == ["en", "de", "ja", language.UNKNOWN]
    assert all(score > 0.8 for _, score in found[:3]) and found[3][1] == 0
