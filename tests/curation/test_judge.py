"""Judges of quality: rules and a served model."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from pydantic import ValidationError

from stages.curation.classification import bucket, judge
from stages.interface import StageError
from tests.curation.samples import PROSE, document


def test_the_rules_approve_of_prose_and_not_of_menus() -> None:
    menu = "Home\nProducts\nPrices\nContact us\nAbout\n" * 10
    code = "def f(x):\n    return x\n" * 20
    questions = "Q: What is the capital of Peru? A: Lima is the capital of Peru. " * 3 + PROSE
    assert judge.is_approved_by_rules(document(PROSE)) and judge.is_approved_by_rules(document(questions))
    assert judge.is_approved_by_rules(document(PROSE.replace(" and ", " and\n")))  # hard-wrapped
    assert not judge.is_approved_by_rules(document(menu)) and not judge.is_approved_by_rules(
        document(f"{PROSE[:90]}\n{menu}")
    )
    assert not judge.is_approved_by_rules(document(code, media="code", code=[[0, 39]]))
    assert not judge.is_approved_by_rules(document(PROSE.upper()))


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
    assert judge.judge_documents([document(PROSE), document("Menu")], served) == [True, False]
    domains = judge.ask_endpoint([document("A river in math")], bucket.QUESTION, ("math", "yes"), served)
    assert domains == ["yes"]
    with pytest.raises(StageError, match="llama answers 'perhaps', none of yes, no"):
        judge.judge_documents([document("")], served)
    nobody = served.model_copy(update={"url": "http://127.0.0.1:9/v1"})
    with pytest.raises(StageError, match=r"curation\.classify\.judge\.url: http://127\.0\.0\.1:9/v1/chat/completions"):
        judge.judge_documents([document(PROSE)], nobody)
    with pytest.raises(ValidationError, match="needs url and model"):
        judge.Judge(kind="endpoint", url=None, model=None, threshold=0.5)
