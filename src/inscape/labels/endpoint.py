"""A language model behind an endpoint with OpenAI's interface for chats, or opened here.

1. A question is one POST to URL/chat/completions, without redirects, which would hand the key on.
2. What waiting may mend (a timeout, a dropped connection, 408, 409, 425, 429, 5xx, a body that is
   not what the interface says) raises `TryAgain`, with the seconds that the server asks for.
3. A question that the server refuses (400, 413, 422) raises `Refused`; what no other question would
   mend either (a wrong key, an unknown model or address) is a ModelError.

The key is held in memory, sent in one header, and cut out of whatever a server says.
"""

from __future__ import annotations

import http.client
import json
import math
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from inscape.core import InputError, ModelError, instance_of, short
from inscape.model import Model

Messages = Sequence[dict[str, str]]

MOST_BYTES = 4_000_000  # of a body: a server that sends without end is cut off
TOKENS_PER_BYTE = 1 / 3  # until the first answers say; English has a quarter
MOST_BYTES_A_TOKEN = 16  # on the average of a text
OVERHEAD = 16  # tokens of a chat template
_PASSING = (408, 409, 425, 429)
_OPENING = '{"label": "'


class TryAgain(Exception):
    """A try that failed, which another may mend.

    Attributes:
        after: seconds that the server asks for; None where it says nothing.
        charged: whether the server may have done the work, and charges for it.
        unreachable: whether no connection came about at all.
    """

    def __init__(
        self,
        why: str,
        *,
        after: float | None = None,
        charged: bool = False,
        unreachable: bool = False,
    ) -> None:
        super().__init__(why)
        self.after, self.charged, self.unreachable = after, charged, unreachable


class Refused(Exception):
    """The server refuses this question."""


@dataclass(frozen=True)
class Reply:
    """What the model wrote, and the tokens of question and answer (counted by the server where it
    says, else estimated)."""

    text: str
    prompt_tokens: int
    completion_tokens: int


class Asked(Protocol):
    """A language model that can be asked.

    Attributes:
        name: what it is called in labels.
        concurrency: how many questions may be under way at once.
        answer_tokens: the most tokens of an answer.
    """

    name: str
    concurrency: int
    answer_tokens: int

    def count(self, messages: Messages) -> int:
        """Tokens of a question, rather too many than too few."""
        ...

    def ask(self, messages: Messages) -> Reply:
        """One try; raises `TryAgain`, `Refused` or ModelError."""
        ...


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class Endpoint:
    """An endpoint with OpenAI's interface: a hosted service, vLLM, llama.cpp, Ollama and others.

    Args:
        url: its address as clients take it, as in http://localhost:8000/v1.
        model: what the model is called there.
        key: its key, if it wants one; never shown or saved.
        concurrency: questions under way at once.
        answer_tokens: the most tokens of an answer.
        timeout: seconds after which a try is given up.

    Raises:
        InputError: the address is none of http or https, or a setting is out of range.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str = "",
        concurrency: int = 8,
        answer_tokens: int = 200,
        timeout: float = 120.0,
    ) -> None:
        self.url = _address(url)
        instance_of(str, model, "an endpoint's model", "its name there, as in gpt-4o-mini")
        self.name = model
        if not 1 <= concurrency <= 256:
            raise InputError(f"{concurrency} questions at once", expected="1 to 256")
        self.concurrency, self.answer_tokens, self.timeout = concurrency, answer_tokens, timeout
        self._key = key.strip()
        if not self._key.isascii() or not self._key.isprintable():
            raise InputError("the key has characters that no header holds", expected="plain text")
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._rate = TOKENS_PER_BYTE
        # Newer models take another name for the limit, and no temperature but their own.
        self._settings: dict[str, Any] = {"max_tokens": answer_tokens, "temperature": 0}

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r}, {self.name!r})"

    def count(self, messages: Messages) -> int:
        """Estimated from bytes, by the largest rate of tokens that the server has reported."""
        return math.ceil(self._rate * _num_bytes(messages)) + OVERHEAD

    def ask(self, messages: Messages) -> Reply:
        """One try (see above)."""
        for _ in range(len(self._settings) + 1):
            used = dict(self._settings)
            try:
                return self._reply(self._post(messages, used), messages)
            except Refused as refused:
                if not self._adapted(str(refused), used):
                    raise
        raise Refused("it takes none of the settings of a question")

    def _adapted(self, why: str, used: dict[str, Any]) -> bool:
        """Whether a setting that a server refuses could be left out or given by its newer name."""
        changed = dict(used)
        if "max_tokens" in used and "max_completion_tokens" in why:
            changed["max_completion_tokens"] = changed.pop("max_tokens")
        elif "temperature" in used and "temperature" in why:
            del changed["temperature"]
        self._settings = changed
        return changed != used

    def _post(self, messages: Messages, settings: dict[str, Any]) -> bytes:
        body = {"model": self.name, "messages": list(messages), **settings}
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url, data, headers, method="POST")
        until = time.monotonic() + self.timeout
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                return _read(response, until)
        except urllib.error.HTTPError as error:
            with error:
                raise self._failure(error, until) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from error

    def _failure(self, error: urllib.error.HTTPError, until: float) -> Exception:
        """What a status other than 200 means."""
        try:
            said = _message(_read(error, until))
        except (OSError, http.client.HTTPException, TryAgain):
            said = ""
        why = f"{error.code} {error.reason}{': ' + said if said else ''}"
        why = self._without_key(why)
        if error.code in _PASSING or error.code >= 500:
            return TryAgain(why, after=_seconds(error.headers.get("Retry-After")))
        if error.code in (400, 413, 422):
            return Refused(why)
        step = "check --endpoint and --endpoint-model"
        if error.code in (401, 403):
            step = "name the variable of the environment that holds your key with --key-env"
        return ModelError(f"{self.url} answers {why}", expected="200", next_step=step)

    def _broken(self, error: Exception) -> Exception:
        """What a connection that failed means."""
        cause = getattr(error, "reason", error)
        why = self._without_key(" ".join(str(cause).split()) or type(cause).__name__)
        if isinstance(cause, ssl.SSLCertVerificationError | UnicodeError):
            return ModelError(f"{self.url} cannot be trusted or read: {why}")
        # urllib wraps what fails before the question is sent, and nothing later
        unreachable = isinstance(error, urllib.error.URLError)
        if isinstance(cause, TimeoutError):
            why = f"no answer within {self.timeout:g} s"
        return TryAgain(why, charged=not unreachable, unreachable=unreachable)

    def _reply(self, body: bytes, messages: Messages) -> Reply:
        """The reply in a body; one that is no chat completion is like a server's fault."""
        try:
            content = json.loads(body)
            text = content["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            shown = self._without_key(short(body[:200].decode(errors="replace")))
            raise TryAgain(f"no chat completion but {shown}", charged=True) from error
        if text is not None and not isinstance(text, str):
            raise TryAgain(f"a message of type {type(text).__name__}", charged=True)
        text = text or ""
        size, usage = max(1, _num_bytes(messages)), content.get("usage")
        asked = _tokens(usage, "prompt_tokens", size)
        written = _tokens(usage, "completion_tokens", len(text.encode(errors="replace")))
        if asked is None:
            asked = self.count(messages)
        else:
            self._rate = max(self._rate, min(1.0, (asked - OVERHEAD) / size))
        if written is None:
            written = min(self.answer_tokens, len(text.encode(errors="replace")) // 2 + 1)
        return Reply(text, asked, written)

    def _without_key(self, text: str) -> str:
        text = text.replace(self._key, "***") if self._key else text
        return re.sub(r"\b(sk|key)-[\w*-]{6,}", "***", text)  # services quote a part of it


class LocalModel:
    """A chat model that runs here, one question after the other.

    The answer's first characters are given, and it ends with its first closing brace: small models
    keep to the form only so.
    """

    concurrency = 1

    def __init__(self, model: Model, *, answer_tokens: int = 40) -> None:
        self.name, self.answer_tokens = model.name, answer_tokens
        self._model = model

    def __repr__(self) -> str:
        return f"LocalModel({self.name!r})"

    def _ids(self, messages: Messages) -> list[int]:
        opening = self._model.encode(_OPENING, bos="never")
        return [*self._model.chat_tokens(messages)[0], *opening]

    def count(self, messages: Messages) -> int:
        """Counted by its tokenizer."""
        return len(self._ids(messages))

    def ask(self, messages: Messages) -> Reply:
        """Greedy; raises `Refused` where the question is longer than its context."""
        ids = self._ids(messages)
        try:
            prompt = self._model.prompt(ids)
            made = self._model.generate(prompt, self.answer_tokens)[0].tolist()
        except InputError as error:
            raise Refused(str(error)) from error
        text = self._model.continuation(made, len(ids))
        written = text.partition("}")
        return Reply(_OPENING + written[0] + written[1], len(ids), len(made) - len(ids))


def _address(url: str) -> str:
    """The address that questions go to."""
    expected = "http:// or https:// with a host, as in http://localhost:8000/v1"
    instance_of(str, url, "the endpoint", expected)
    given = url.strip()
    try:
        parts = urlsplit(given)
        named, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"the endpoint {given!r} is no address", expected=expected) from error
    if parts.username is not None or parts.password is not None:
        raise InputError(
            "the endpoint's address holds a name or a password",
            expected="an address without them",
            next_step="put the key into a variable of the environment, and name it with --key-env",
        )
    whole = given.isascii() and given.isprintable() and " " not in given
    if parts.scheme not in ("http", "https") or not named or not whole:
        raise InputError(f"the endpoint {given!r} is no address", expected=expected)
    path = parts.path.rstrip("/")
    if not path.endswith("/chat/completions"):
        path += "/chat/completions"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def _read(response: Any, until: float) -> bytes:
    """A body as it comes: neither longer than allowed nor after the time is over."""
    parts, size = [], 0
    while part := response.read1(65536):
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            raise TryAgain(f"a body of more than {MOST_BYTES:,} bytes", charged=True)
        if time.monotonic() > until:
            raise TimeoutError
    if response.length:  # what the head announced and did not come
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(parts)


def _message(body: bytes) -> str:
    """What a body says of an error, in one short line."""
    text = body.decode(errors="replace")
    try:
        found = json.loads(text)
        error = found.get("error", found)
        text = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, LookupError, AttributeError, RecursionError):
        text = re.sub(r"<[^>]*>", " ", text)
    return " ".join(text.split())[:200]


def _seconds(after: str | None) -> float | None:
    """Retry-After in seconds, which may be written as a date."""
    if after is None:
        return None
    try:
        seconds = float(after)
    except ValueError:
        try:
            then = parsedate_to_datetime(after)
        except ValueError:
            return None
        seconds = (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _tokens(usage: Any, name: str, num_bytes: int) -> int | None:
    """A count that a server reports, if it can be true of so many bytes of text: a limit on the
    cost must hold where a server counts nothing."""
    found = usage.get(name) if isinstance(usage, dict) else None
    return (
        found if type(found) is int and num_bytes / MOST_BYTES_A_TOKEN <= found < 1 << 40 else None
    )


def _num_bytes(messages: Messages) -> int:
    return sum(len(message["content"].encode(errors="replace")) for message in messages)
