"""Labels from a language model: what it is asked, and asking it many questions.

1. A question shows examples of a feature from the explaining documents alone, the tokens on which
   it is active marked, and the tokens that it makes likelier (prompt.txt, which can be replaced).
2. Features are taken in a random order, so that a run that stops early leaves a fair sample. What
   is answered in the file of answers is not asked again.
3. As many threads as the model allows take questions. Before one is sent, the most that it can
   cost is set aside; when that would pass a limit, no more is asked.
4. A failed try is repeated after Retry-After, or after a wait that doubles; when the server says
   how long, all threads wait, and go on one after the other. A malformed answer is asked for once
   more.
5. An error that no other question mends ends the run, and so do three questions in a row that
   failed in all tries. Answers that are under way are waited for.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from inscape.core import InputError, ModelError, progress, seeded, track, warn
from inscape.features import Example, FeatureIndex
from inscape.labels.answers import Answers, Limits, parse, question_hash
from inscape.labels.endpoint import Asked, Messages, Refused, Reply, TryAgain
from inscape.storage import reading

MIN_EXAMPLES = 3
TOP, OTHERS = 8, 6  # examples in a question: the strongest, and weaker ones
LEVELS = 10
LONGEST_WAIT = 600.0  # seconds; a server that asks for more ends the run
MOST_WAITS = 50  # that a server asks for, for one question
IN_A_ROW = 3
GRACE = 5.0  # seconds for which answers that are under way are waited for on Ctrl-C
_PLACES = ("{examples}", "{predicts}")
_AGAIN = (
    'That is not the form. Answer with one JSON object alone, as in {"label": "at most six words"}'
)


@dataclass(frozen=True)
class Question:
    """What a model is asked about a feature."""

    feature: int
    messages: Messages
    hash: str


@dataclass
class Report:
    """How asking went: counts over all questions, those answered in former runs included.

    Attributes:
        num_repeated: times that a question was asked again, after a failure or a wait.
        num_malformed: answers that were no label in the form asked for.
        num_failed: questions that got no answer and can be asked again.
        num_refused: questions that the server refuses.
        cost: of all tokens, None without prices.
        stopped: why not all were asked; "" where all were.
    """

    num_questions: int
    num_answered: int = 0
    num_asked_now: int = 0
    num_unclear: int = 0
    num_repeated: int = 0
    num_malformed: int = 0
    num_failed: int = 0
    num_refused: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None
    stopped: str = ""


@dataclass(frozen=True)
class Estimate:
    """What is still to be asked: questions, their tokens (counted, or estimated), the tokens of
    their answers at most, and the cost at most (None without prices)."""

    num_questions: int
    num_answered: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None


def read_prompt(path: Path | None) -> str:
    """The prompt in a file, or inscape's own.

    Raises:
        InputError: it has no place for the examples.
        StorageError: it cannot be read.
    """
    if path is None:
        return (files("inscape.labels") / "prompt.txt").read_text(encoding="utf-8")
    with reading(path, "save it as UTF-8", UnicodeDecodeError):
        text = path.read_text(encoding="utf-8")
    if _PLACES[0] not in text:
        raise InputError(f"{path} has no {_PLACES[0]}", expected="a prompt with that in it once")
    return text


def questions(
    index: FeatureIndex, explaining: Sequence[int], model: str, prompt: str, seed: int
) -> list[Question]:
    """A question about every feature with enough examples in the documents `explaining`, in a
    random order."""
    allowed = set(explaining)
    found = []
    active = np.flatnonzero(index.num_active).tolist()
    for feature in track(active, "reading examples", unit="features"):
        examples = [e for e in index.examples(feature) if e.document in allowed]
        if len(examples) < MIN_EXAMPLES:
            continue
        predicts = [repr(token) for token, _ in index.promoted(feature)[:8]]
        content = {_PLACES[0]: _shown(examples), _PLACES[1]: ", ".join(predicts) or "unknown"}
        text = prompt
        for place, words in content.items():
            before, there, after = text.partition(place)
            text = before + words + after if there else text
        messages = [{"role": "user", "content": text}]
        found.append(Question(feature, messages, question_hash(model, messages)))
    order = np.random.default_rng(seeded(seed, "labels", "asking")).permutation(len(found))
    return [found[place] for place in order.tolist()]


def _shown(examples: Sequence[Example]) -> str:
    """Examples as lines: the strongest ones, and as many as are wanted of the weaker ones."""
    top = [e for e in examples if e.quantile is None][:TOP]
    other = [e for e in reversed(examples) if e.quantile is not None][:OTHERS]
    different = {e.text: e for e in reversed(top + other)}
    chosen = sorted(different.values(), key=lambda e: -e.value)
    most = max(e.value for e in examples)
    lines = [f"{max(1, round(LEVELS * e.value / most))}: {_marked(e)}" for e in chosen]
    return "\n".join(lines)


def _marked(example: Example) -> str:
    """The text of an example on one line, with the tokens that are active in marks."""
    parts: list[str] = []
    active = False
    for token, value in zip(example.tokens, example.values, strict=True):
        if (value > 0) != active:
            space = " " if token.startswith(" ") and value > 0 else ""
            parts.append(f"{space}<<" if value > 0 else ">>")
            token = token.removeprefix(space)
            active = value > 0
        parts.append(token)
    return " ".join(("".join(parts) + ">>" * active).split())


def estimate(asked: Asked, todo: Sequence[Question], answers: Answers, limits: Limits) -> Estimate:
    """What asking the questions that are not answered yet takes."""
    left = [one for one in todo if answers.label(one.hash) is None]
    inside = sum(asked.count(one.messages) for one in left)
    outside = len(left) * asked.answer_tokens
    cost = limits.cost(inside, outside)
    return Estimate(len(left), len(todo) - len(left), inside, outside, cost)


class Asking:
    """One run over questions. `wait` is the first wait after a failure in seconds, `tries` how
    often a question is sent at most without an answer."""

    def __init__(
        self, asked: Asked, answers: Answers, limits: Limits, *, wait: float = 1.0, tries: int = 6
    ) -> None:
        self.asked, self.answers, self.limits = asked, answers, limits
        self.wait, self.tries = wait, tries
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._reached = False  # whether the server has ever answered
        self._not_before = 0.0  # until when all threads wait
        self._aside = (0, 0)  # tokens of questions that are under way, of their answers
        self._failures = 0  # in a row
        self._error: BaseException | None = None

    def run(self, todo: Sequence[Question]) -> Report:
        """Asks all that is not answered yet, and reports.

        Raises:
            ModelError: the endpoint cannot be reached, or refuses every question.
            StorageError: an answer cannot be written.
        """
        self._report = Report(len(todo))
        left: queue.SimpleQueue[Question] = queue.SimpleQueue()
        count = 0
        for one in todo:
            if self.answers.label(one.hash) is None:
                left.put(one)
                count += 1
        done: queue.SimpleQueue[bool] = queue.SimpleQueue()
        num = min(self.asked.concurrency, count)
        threads = [
            threading.Thread(target=self._work, args=(left, done), daemon=True) for _ in range(num)
        ]
        try:
            with progress("asking for labels", count, "questions") as bar:
                for thread in threads:
                    thread.start()
                running = num
                while running:
                    try:
                        finished = done.get(timeout=0.2)
                    except queue.Empty:
                        continue
                    running -= not finished
                    bar.advance(int(finished), **self._figures())
        finally:
            self._stopping.set()
            until = time.monotonic() + GRACE
            for thread in threads:
                if thread.ident is not None:
                    thread.join(max(0.0, until - time.monotonic()))
            self.answers.close()
        if self._error is not None:
            raise self._error
        return self._finished(todo)

    def _figures(self) -> dict[str, float | str]:
        cost = self.limits.cost(self.answers.prompt_tokens, self.answers.completion_tokens)
        return {} if cost is None else {"cost": cost}

    def _finished(self, todo: Sequence[Question]) -> Report:
        report, answers = self._report, self.answers
        found = [answers.label(one.hash) for one in todo]
        report.num_answered = sum(label is not None for label in found)
        report.num_unclear = sum(label == "" for label in found)
        report.num_malformed = sum(answers.num_malformed(one.hash) for one in todo)
        report.prompt_tokens = answers.prompt_tokens
        report.completion_tokens = answers.completion_tokens
        report.cost = self.limits.cost(report.prompt_tokens, report.completion_tokens)
        return report

    def _work(self, left: queue.SimpleQueue[Question], done: queue.SimpleQueue[bool]) -> None:
        """One thread: says True after each question, and False at its end."""
        try:
            while not self._stopping.is_set():
                try:
                    question = left.get_nowait()
                except queue.Empty:
                    return
                self._one(question)
                done.put(True)
        except BaseException as error:  # raised again by the thread that waits
            self._error = self._error or error
            self._stopping.set()
        finally:
            done.put(False)

    def _one(self, question: Question) -> None:
        """A question until it is answered, has failed too often, or is not to be asked."""
        messages = list(question.messages)
        failed = waits = 0
        while self.answers.label(question.hash) is None and not self._rest_until_allowed():
            tokens = self.asked.count(messages), self.asked.answer_tokens
            if not self._set_aside(tokens):
                return
            try:
                reply = self.asked.ask(messages)
            except TryAgain as error:
                waits += error.after is not None
                failed += error.after is None
                if error.charged:
                    self.answers.add_failure(question.feature, question.hash, tokens[0])
                if not self._another(error, failed, waits):
                    return
            except Refused as error:
                if self.answers.num_malformed(question.hash):  # the second question is longer
                    self.answers.add(question.feature, question.hash, Reply("", 0, 0), None)
                    return
                with self._lock:
                    self._report.num_refused += 1
                self._failed(f"the endpoint refuses questions: {error}")
                return
            else:
                messages = self._keep(question, messages, reply)
            finally:
                self._put_back(tokens)

    def _keep(self, question: Question, messages: Messages, reply: Reply) -> list[dict[str, str]]:
        """Keeps an answer; returns what to ask if it is malformed."""
        label = parse(reply.text)
        self.answers.add(question.feature, question.hash, reply, label)
        with self._lock:
            self._reached, self._failures = True, 0
            self._report.num_asked_now += 1
        said = {"role": "assistant", "content": reply.text}
        return [*question.messages, said, {"role": "user", "content": _AGAIN}]

    def _another(self, error: TryAgain, failed: int, waits: int) -> bool:
        """Waits for another try; False where there is to be none."""
        if error.unreachable and not self._reached:
            raise ModelError(
                f"the endpoint cannot be reached: {error}",
                expected="a server that runs at its address",
                next_step="start it, or check --endpoint; answers so far are kept",
            ) from error
        wait = self.wait * 2 ** max(0, failed - 1) * random.uniform(0.75, 1.25)
        if error.after is not None:
            if error.after > LONGEST_WAIT:
                self._stop(f"the endpoint asks to wait {error.after:,.0f} s ({error})")
                return False
            with self._lock:
                self._not_before = max(self._not_before, time.monotonic() + error.after)
            wait = error.after + self.wait * random.random()  # not all in the same moment
        if failed >= self.tries or waits >= MOST_WAITS:
            with self._lock:
                self._report.num_failed += 1
            self._failed(f"{IN_A_ROW} questions in a row got no answer: {error}")
            return False
        with self._lock:
            self._report.num_repeated += 1
        return not self._stopping.wait(wait)

    def _failed(self, why: str) -> None:
        """Counts a question that failed; after several in a row the run ends."""
        with self._lock:
            self._failures += 1
            too_many = self._failures >= IN_A_ROW
        if too_many and not self._reached:
            raise ModelError(
                why,
                expected="the answers of an OpenAI-compatible server, from /chat/completions",
                next_step="check --endpoint and its server; answers so far are kept",
            )
        if too_many:
            self._stop(why)

    def _stop(self, why: str) -> None:
        with self._lock:
            self._report.stopped = self._report.stopped or why
        self._stopping.set()

    def _rest_until_allowed(self) -> bool:
        """Waits while the server is too busy; True where the run ends meanwhile."""
        while (seconds := self._not_before - time.monotonic()) > 0:
            if self._stopping.wait(seconds):
                return True
        return self._stopping.is_set()

    def _set_aside(self, tokens: tuple[int, int]) -> bool:
        """Whether a question may be sent without passing a limit; it is counted as if it had cost
        all that it can, until its answer says."""
        with self._lock:
            aside = self._aside[0] + tokens[0], self._aside[1] + tokens[1]
            spent = self.answers.prompt_tokens, self.answers.completion_tokens
            passed = self.limits.passed(spent[0] + aside[0], spent[1] + aside[1])
            if passed is None:
                self._aside = aside
        if passed is not None:
            self._stop(f"another question could pass {passed}")
        return passed is None

    def _put_back(self, tokens: tuple[int, int]) -> None:
        with self._lock:
            self._aside = self._aside[0] - tokens[0], self._aside[1] - tokens[1]


def answered(todo: Sequence[Question], answers: Answers) -> dict[int, str]:
    """Feature → label of all that are answered, "" where it is unclear."""
    labels = {one.feature: answers.label(one.hash) for one in todo}
    return {feature: label for feature, label in labels.items() if label is not None}


def warn_of(report: Report) -> None:
    """Says what is missing of the answers."""
    left = report.num_questions - report.num_answered
    if not left:
        return
    why = report.stopped or f"{report.num_failed} failed, {report.num_refused} were refused"
    raised = " with a higher limit" if "pass the limit" in report.stopped else ""
    warn(
        f"{left:,} of {report.num_questions:,} questions are not answered ({why}); the same "
        f"command{raised} goes on where it stopped"
    )
