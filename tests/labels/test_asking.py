"""Labels from a language model behind a real server on this machine."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from tests.families import tiny, tiny_tokenizer
from tests.labels.chat_server import Served, completion, labelled, serving
from tests.labels.conftest import TOKEN, Planted

from inscape.core import InputError, ModelError, StorageError, progress
from inscape.core.errors import InscapeWarning
from inscape.labels.answers import Answers, Limits, parse, question_hash
from inscape.labels.asking import (
    Asking,
    Question,
    answered,
    estimate,
    questions,
    read_prompt,
    warn_of,
)
from inscape.labels.endpoint import Endpoint, LocalModel, Refused, TryAgain
from inscape.labels.sampling import document_halves
from inscape.model import Model

ASK = [{"role": "user", "content": "What is it?"}]
KEY = "secret-0123456789"


def name_of(body: dict[str, Any]) -> bytes:
    """The usual answer: it names the number in the question."""
    return labelled(f"thing {body['messages'][0]['content'].split()[-1]}")


def asked(count: int) -> list[Question]:
    made = []
    for feature in range(count):
        messages = [{"role": "user", "content": f"What is thing {feature}"}]
        made.append(Question(feature, messages, question_hash("m", messages)))
    return made


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(Served(name_of)) as server:
        yield server


def run(
    served: Served, path: Path, count: int = 6, limits: Limits | None = None, **settings: Any
) -> tuple[Any, dict[int, str]]:
    made = Endpoint(served.url, "m", **{"concurrency": 2, "timeout": 5.0, **settings})
    answers = Answers(path)
    report = Asking(made, answers, limits or Limits(), wait=0.01).run(asked(count))
    return report, answered(asked(count), Answers(path))


def test_every_question_is_answered_and_kept(served: Served, tmp_path: Path) -> None:
    report, found = run(served, tmp_path / "answers.jsonl", 20, concurrency=4)
    assert found == {feature: f"thing {feature}" for feature in range(20)}
    assert (report.num_answered, report.num_asked_now, report.stopped) == (20, 20, "")
    assert (report.prompt_tokens, report.completion_tokens) == (2000, 140)
    assert served.requests[0]["path"] == "/v1/chat/completions"
    assert served.requests[0]["model"] == "m"
    assert served.most_running <= 4


def test_nothing_is_asked_twice(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    run(served, path, 5)
    kept = path.read_bytes()
    path.write_bytes(kept[:-9])  # a kill amid the last line
    report, found = run(served, path, 7)
    assert len(served.requests) == 5 + 3
    assert found.keys() == set(range(7))
    assert report.num_asked_now == 3
    run(served, path, 7)
    assert len(served.requests) == 8


@pytest.mark.parametrize(
    "turn",
    [
        (429, {"Retry-After": "0"}, b'{"error": {"message": "slow down"}}'),
        (500, {}, b"<html>oops</html>"),
        (503, {"Retry-After": "soon"}, b""),
        b"this is no JSON",
        b'{"choices": []}',
        b'{"choices": [{"message": {"content": 7}}]}',
        b"[" * 100_000,
        "drop",
        "half",
    ],
    ids=["429", "500", "503", "no-json", "no-choice", "no-text", "deep", "drop", "half"],
)
def test_a_try_that_failed_is_repeated(turn: Any, served: Served, tmp_path: Path) -> None:
    served.turns = [turn, turn]
    report, found = run(served, tmp_path / "answers.jsonl")
    assert found == {feature: f"thing {feature}" for feature in range(6)}
    assert (report.num_failed, len(served.requests)) == (0, 8)


def test_a_slow_answer_is_given_up_and_asked_for_again(served: Served, tmp_path: Path) -> None:
    served.turns = [1.0]
    report, found = run(served, tmp_path / "answers.jsonl", 2, timeout=0.3, concurrency=1)
    assert len(found) == 2
    assert len(served.requests) == 3
    # the server may have done the work: it is counted as if it had
    assert report.prompt_tokens > 200


def test_retry_after_holds_for_all_threads(served: Served, tmp_path: Path) -> None:
    served.turns = [(429, {"Retry-After": "1"}, b"")]
    run(served, tmp_path / "answers.jsonl", 12, concurrency=2)
    first, *rest = served.times
    late = [moment - first for moment in rest if moment - first > 0.2]
    assert min(late) >= 0.95
    assert len(served.times) - len(late) <= 3  # what was under way at that moment


def test_a_tight_rate_limit_loses_no_question(served: Served, tmp_path: Path) -> None:
    """A server that answers one request in three."""

    def usual(body: dict[str, Any]) -> Any:
        if len(served.requests) % 3:
            return 429, {"Retry-After": "0.02"}, b""
        return name_of(body)

    served.usual = usual
    report, found = run(served, tmp_path / "a", 12, concurrency=4)
    assert found == {feature: f"thing {feature}" for feature in range(12)}
    assert report.num_failed == 0
    assert report.num_repeated == len(served.requests) - 12


def test_retry_after_may_be_a_date(served: Served) -> None:
    made = Endpoint(served.url, "m")
    served.turns = [(429, {"Retry-After": formatdate(time.time() + 30, usegmt=True)}, b"")]
    with pytest.raises(TryAgain) as error:
        made.ask(ASK)
    assert error.value.after is not None
    assert 25 < error.value.after <= 31


def test_a_long_rest_ends_the_run(served: Served, tmp_path: Path) -> None:
    served.turns = [labelled("a"), (429, {"Retry-After": "7200"}, b"")]
    report, found = run(served, tmp_path / "answers.jsonl", concurrency=1)
    assert found == {0: "a"}
    assert "7,200 s" in report.stopped


def test_a_malformed_answer_is_asked_for_once_more(served: Served, tmp_path: Path) -> None:
    served.turns = [completion("It is about food."), labelled("food")]
    served.turns += [completion('{"name": "x"}'), completion("{")]
    report, found = run(served, tmp_path / "answers.jsonl", 3, concurrency=1)
    assert found == {0: "food", 1: "", 2: "thing 2"}
    assert (report.num_malformed, report.num_unclear, len(served.requests)) == (3, 1, 5)
    repeated = served.requests[1]["messages"]
    assert [message["role"] for message in repeated] == ["user", "assistant", "user"]


def test_a_malformed_answer_of_a_former_run_counts(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    answers = Answers(path)
    answers.add(0, asked(1)[0].hash, Endpoint(served.url, "m")._reply(completion("no"), ASK), None)
    answers.close()
    served.turns = [completion("no")]
    assert run(served, path, 1)[1] == {0: ""}
    assert len(served.requests) == 1


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ('{"label": "food"}', "food"),
        (' {"label": " names of US presidents "}\n', "names of US presidents"),
        ('{"label": "Unclear."}', ""),
        ('```json\n{"label": "food"}\n```', None),
        ('{"label": "one two three four five six seven"}', None),
        ('{"label": "a", "why": "b"}', None),
        ('{"label": ["food"]}', None),
        ('{"label": ""}', None),
        ('{"label": "..."}', None),
        ('{"label": "two\\nlines"}', None),
        ('{"label": NaN}', None),
        ("food", None),
        ('<think>\n{"label": "a"}?\n</think>\n\n{"label": "food"}', "food"),
        ("[" * 100_000, None),
    ],
)
def test_an_answer_is_one_object_with_a_label(text: str, label: str | None) -> None:
    assert parse(text) == label


def test_no_limit_is_passed(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    limits = Limits(max_tokens=1500)
    report, found = run(served, path, 40, limits, answer_tokens=50, concurrency=4)
    assert report.prompt_tokens + report.completion_tokens <= 1500
    assert 5 <= len(found) < 15
    assert "1,500 tokens" in report.stopped
    with pytest.warns(InscapeWarning, match="the same command with a higher limit goes on"):
        warn_of(report)
    # the same limit stops the same command at once; a higher one goes on
    sent = len(served.requests)
    run(served, path, 40, limits, answer_tokens=50)
    assert len(served.requests) == sent
    assert len(run(served, path, 40, Limits(max_tokens=100_000))[1]) == 40


def test_a_limit_on_the_cost(served: Served, tmp_path: Path) -> None:
    limits = Limits(max_cost=0.002, input_price=1.0, output_price=4.0)
    report, found = run(served, tmp_path / "answers.jsonl", 40, limits, answer_tokens=50)
    assert report.cost is not None
    assert report.cost <= 0.002
    assert report.cost == pytest.approx(len(found) * (100 * 1.0 + 7 * 4.0) / 1e6)
    assert len(found) >= 8


def test_the_estimate_counts_what_is_left(served: Served, tmp_path: Path) -> None:
    made = Endpoint(served.url, "m", answer_tokens=50)
    limits = Limits(input_price=1.0, output_price=2.0)
    first = estimate(made, asked(10), Answers(tmp_path / "a"), limits)
    assert (first.num_questions, first.completion_tokens) == (10, 500)
    assert first.cost == pytest.approx((first.prompt_tokens + 1000) / 1e6)
    run(served, tmp_path / "a", 4)
    assert estimate(made, asked(10), Answers(tmp_path / "a"), limits).num_questions == 6


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="--input-price"):
        Limits(max_cost=1.0)
    with pytest.raises(InputError, match="one price"):
        Limits(input_price=1.0)
    with pytest.raises(InputError, match="max_cost"):
        Limits(max_cost=-1.0, input_price=1.0, output_price=1.0)
    with pytest.raises(InputError, match="most tokens"):
        Limits(max_tokens=-1)


def test_an_endpoint_that_is_down(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    made = Endpoint(url, "m")
    begun = time.monotonic()
    with pytest.raises(ModelError, match="cannot be reached.*refused"):
        Asking(made, Answers(tmp_path / "a"), Limits()).run(asked(3))
    assert time.monotonic() - begun < 3
    assert not (tmp_path / "a").exists()


def test_an_endpoint_that_only_fails_ends_the_run(served: Served, tmp_path: Path) -> None:
    served.usual = lambda body: (500, {}, b"broken")
    with pytest.raises(ModelError, match="3 questions in a row got no answer: 500"):
        run(served, tmp_path / "a", 9, concurrency=1)
    assert len(served.requests) == 3 * 6


def test_one_question_that_always_fails_does_not_end_the_run(
    served: Served, tmp_path: Path
) -> None:
    def usual(body: dict[str, Any]) -> Any:
        return (502, {}, b"") if body["messages"][0]["content"].endswith(" 2") else name_of(body)

    served.usual = usual
    report, found = run(served, tmp_path / "a", 6, concurrency=1)
    assert found.keys() == {0, 1, 3, 4, 5}
    assert report.num_failed == 1


def test_a_question_that_is_refused_is_left_out(served: Served, tmp_path: Path) -> None:
    served.turns = [labelled("a"), (400, {}, b'{"error": {"message": "filtered"}}')]
    report, found = run(served, tmp_path / "a", 4, concurrency=1)
    assert found.keys() == {0, 2, 3}
    assert report.num_refused == 1


def test_a_wrong_key_is_one_line_without_the_key(served: Served, tmp_path: Path) -> None:
    said = f'{{"error": {{"message": "Incorrect API key: {KEY} or sk-abc***xyz"}}}}'
    served.turns = [(401, {}, said.encode())] * 4
    with pytest.raises(ModelError, match="401 Unauthorized") as error:
        run(served, tmp_path / "a", key=KEY)
    assert "--key-env" in str(error.value)
    assert KEY not in str(error.value)
    assert "sk-" not in str(error.value)
    assert served.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_the_key_is_nowhere_but_in_the_header(served: Served, tmp_path: Path) -> None:
    run(served, tmp_path / "a", 3, key=KEY)
    assert KEY not in (tmp_path / "a").read_text()
    assert KEY not in repr(Endpoint(served.url, "m", key=KEY))
    assert KEY not in json.dumps(served.requests)


def test_a_redirect_does_not_take_the_key_along(served: Served, tmp_path: Path) -> None:
    with serving(Served(name_of)) as other:
        served.turns = [(307, {"Location": f"{other.url}/chat/completions"}, b"")]
        with pytest.raises(ModelError, match="307"):
            run(served, tmp_path / "a", 1, key=KEY)
        assert not other.requests


def test_newer_names_of_settings_are_used_where_a_server_asks(served: Served) -> None:
    def usual(body: dict[str, Any]) -> Any:
        if "max_tokens" in body:
            said = b'{"error": {"message": "use max_completion_tokens instead of max_tokens"}}'
            return 400, {}, said
        if "temperature" in body:
            return 400, {}, b'{"error": {"message": "temperature 0 is not supported"}}'
        return labelled("x")

    served.usual = usual
    made = Endpoint(served.url, "m", answer_tokens=33)
    assert parse(made.ask(ASK).text) == "x"
    assert served.requests[-1]["max_completion_tokens"] == 33
    made.ask(ASK)
    assert len(served.requests) == 4  # it is remembered
    served.usual = lambda body: (400, {}, b"temperature is bad")
    with pytest.raises(Refused):
        made.ask(ASK)


def test_usage_that_is_missing_or_nonsense_is_estimated(served: Served) -> None:
    made = Endpoint(served.url, "m")
    nothing = {"prompt_tokens": 0, "completion_tokens": 0}
    for usage in (None, "many", {"prompt_tokens": -5, "completion_tokens": "7"}, nothing):
        content = json.loads(labelled("x")) | {"usage": usage}
        served.turns = [json.dumps(content).encode()]
        reply = made.ask(ASK)
        assert reply.prompt_tokens >= 11 / 4
        assert reply.completion_tokens >= 4


def test_a_limit_holds_where_a_server_counts_nothing(served: Served, tmp_path: Path) -> None:
    served.usual = lambda body: completion('{"label": "x"}', 0, 0)
    report, found = run(served, tmp_path / "a", 100, Limits(max_tokens=1000), answer_tokens=50)
    assert len(found) < 60
    assert report.prompt_tokens + report.completion_tokens <= 1000


def test_an_answer_that_cannot_be_kept_ends_the_run(served: Served, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file")
    with pytest.raises(StorageError, match="a file of that name is in the way"):
        run(served, tmp_path / "a" / "answers.jsonl", 9, concurrency=1)
    assert len(served.requests) == 1


def test_a_body_without_end_is_cut_off(served: Served) -> None:
    served.turns = [b" " * 5_000_000]
    with pytest.raises(TryAgain, match="more than"):
        Endpoint(served.url, "m").ask(ASK)


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000", "ftp://host/v1", "http://", "http://a b/", "http://[", "http://h:99999"],
)
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(InputError, match="is no address"):
        Endpoint(url, "m")


def test_an_address_with_a_password() -> None:
    with pytest.raises(InputError, match="--key-env") as error:
        Endpoint("https://me:hidden@host/v1", "m")
    assert "hidden" not in str(error.value)


def test_addresses_are_completed() -> None:
    assert Endpoint("http://h/v1/", "m").url == "http://h/v1/chat/completions"
    assert Endpoint("http://h/chat/completions?v=1", "m").url == "http://h/chat/completions?v=1"


def test_a_stop_keeps_the_answers_that_are_under_way(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.usual = lambda body: (time.sleep(0.1), name_of(body))[1]
    asking = Asking(Endpoint(served.url, "m", concurrency=2), Answers(tmp_path / "a"), Limits())

    def pressed(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(progress, "advance", pressed)
    with pytest.raises(KeyboardInterrupt):
        asking.run(asked(50))
    kept = len(answered(asked(50), Answers(tmp_path / "a")))
    assert 1 <= kept == len(served.requests) < 50


# What a question shows


def test_questions_show_explaining_documents_alone(planted: Planted) -> None:
    documents = planted.index.tokens.documents
    explaining = set(documents[document_halves(documents, 3)].tolist())
    made = questions(planted.index, sorted(explaining), "m", read_prompt(None), 0)
    by_feature = {one.feature: one.messages[0]["content"] for one in made}
    assert TOKEN in by_feature
    assert len(by_feature) >= 6
    others = {e.text.strip() for e in planted.index.examples(TOKEN) if e.document not in explaining}
    shown = by_feature[TOKEN].replace("<<", "").replace(">>", "")
    assert others
    assert not [text for text in others if " ".join(text.split()) in shown]
    lines = by_feature[TOKEN].split("Passages:\n")[1].split("\n\n")[0].splitlines()
    assert len(lines) >= 3
    assert all("<<w" in line for line in lines)
    assert all(1 <= int(line.split(":")[0]) <= 10 for line in lines)


def test_questions_come_in_the_same_random_order(planted: Planted) -> None:
    explaining = range(0, 240, 2)
    prompt = read_prompt(None)
    first = [one.feature for one in questions(planted.index, explaining, "m", prompt, 0)]
    assert first == [one.feature for one in questions(planted.index, explaining, "m", prompt, 0)]
    assert first != sorted(first)


def test_another_prompt_or_model_is_another_question(planted: Planted, tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("Name this: {examples}")
    own = questions(planted.index, range(240), "m", read_prompt(None), 0)
    other = questions(planted.index, range(240), "m", read_prompt(file), 0)
    third = questions(planted.index, range(240), "n", read_prompt(file), 0)
    hashes = {one.hash for made in (own, other, third) for one in made}
    assert len(hashes) == 3 * len(own)
    assert other[0].messages[0]["content"].startswith("Name this: 10: ")


def test_a_prompt_without_a_place_for_examples(tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("Name it.")
    with pytest.raises(InputError, match=r"no \{examples\}"):
        read_prompt(file)


# A model that runs here


@pytest.fixture(scope="module")
def local() -> LocalModel:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    made = Model.wrap(tiny("llama", vocab_size=300), tokenizer, name="tiny")
    return LocalModel(made, answer_tokens=8)


def test_a_local_model_answers_in_the_form(local: LocalModel) -> None:
    reply = local.ask(ASK)
    assert reply.text.startswith('{"label": "')
    assert reply.text.count("}") <= 1
    assert reply.prompt_tokens == local.count(ASK) > len("What is it?") / 4
    assert 0 < reply.completion_tokens <= 8
    assert local.ask(ASK) == reply


def test_a_question_too_long_for_a_local_model_is_left_out(
    local: LocalModel, tmp_path: Path
) -> None:
    long = [{"role": "user", "content": "What is it? " * 2000}]
    with pytest.raises(Refused, match="context"):
        local.ask(long)
    todo = [Question(0, long, "long"), Question(1, ASK, "short")]
    report = Asking(local, Answers(tmp_path / "a"), Limits(), wait=0.01).run(todo)
    assert (report.num_refused, report.num_answered) == (1, 1)
