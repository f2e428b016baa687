"""Asking an API: JSON answers by Scrapy, secrets that stay secret, and answers that are not what they were."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import urlencode

from scrapy import Request, Spider
from scrapy.http import Response

from collector import durable
from collector.spiders.middlewares import HostAsksToWait
from collector.spiders.refusals import reason_of
from collector.spiders.secrets import keep_secret, masked

if TYPE_CHECKING:
    from collector.spiders.job import Job

T = TypeVar("T")
API_BYTES = 8_000_000
MISSING = object()


class SourceDown(Exception):
    """The source cannot be asked any further; the message says why."""


class SchemaDrift(SourceDown):
    """An answer lacks a field that it always had, or has another type in its place."""


class Gone(SourceDown):
    """The source does not have what was asked for (any more): HTTP 404 or 410."""


class NothingToAsk(Exception):
    """The source cannot serve these words; the message says why. That is no failure of the source."""


class Asking(Spider):
    """The part of a spider that talks to its source's API."""

    key: ClassVar[str] = ""
    job: Job
    base_url: str

    async def get(self, url: str, *, headers: Mapping[str, str] | None = None, **meta: Any) -> Response:
        """One answer by Scrapy's downloader, with all its manners. Raises what Scrapy raises."""
        engine = self.crawler.engine
        assert engine is not None
        return await engine.download_async(Request(url, headers=dict(headers or {}), meta=meta, dont_filter=True))

    async def api(
        self,
        path: str,
        params: Mapping[str, object],
        headers: Mapping[str, str] | None = None,
        *,
        secret: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The JSON object that the source's API answers; `secret` are parameters that nobody may read in a log.

        APIs are made for programs, so robots.txt is not asked (that of Commons closes /w/ to all); the pauses that
        a source asks for hold here as well. Raises `SourceDown`.
        """
        keep_secret(*(secret or {}).values())
        asked = urlencode(params, doseq=True)  # a list repeats its parameter
        if self.job.dry_run:
            self.job.asked[self.name].append(f"{self.base_url}{path}?{asked}")
        query = "&".join(part for part in (asked, urlencode(secret or {})) if part)
        try:
            response = await self.get(
                f"{self.base_url}{path}?{query}",
                headers={"Accept": "application/json", **(headers or {})},
                dont_obey_robotstxt=True,
                dont_redirect=True,  # a token must not travel to another host
                download_slot=f"{self.name} API",
                download_maxsize=API_BYTES,
                search=True,
                secret=list(secret or {}),
            )
        except HostAsksToWait as error:
            raise SourceDown(masked(str(error))) from error
        except Exception as error:
            raise SourceDown(f"it does not answer ({masked(reason_of(error).detail)})") from error
        if response.status in (404, 410):
            raise Gone(f"it answered HTTP {response.status} for {path}")
        if response.status == 429:
            raise SourceDown("its limit of requests is reached (HTTP 429)")
        try:
            body = json.loads(response.body)
        except (ValueError, RecursionError):
            body = None
        if response.status != 200 or not isinstance(body, dict):
            said = masked(response.body[:2000].decode("utf-8", "replace"))[:120]  # half a secret is one, too
            raise SourceDown(f"it answered HTTP {response.status}: {said}")
        return body

    def part(self, answer: Mapping[str, Any], path: str, kind: type[T]) -> T:
        """The value at a dotted path of an answer, such as `response.rows`.

        Raises:
            SchemaDrift: it is missing or no `kind`; names the source, the field, where the answer is kept, and a
                sample of what was expected.
        """
        value = _at(answer, path)
        if isinstance(value, kind):
            return value
        raise self._drift(answer, path, "is missing" if value is None else f"is {type(value).__name__}", kind)

    def entries(self, answer: Mapping[str, Any], path: str, *fields: str) -> list[dict[str, Any]]:
        """The objects of the list at a dotted path of an answer; each of `fields` is there in one of them at least.

        Raises:
            SchemaDrift: there is no list, or a field is missing in all objects.
        """
        found = [each for each in self.part(answer, path, list) if isinstance(each, dict)]
        for field in fields if found else ():
            if all(_at(each, field, MISSING) is MISSING for each in found):
                raise self._drift(answer, f"{path}[].{field}", "is missing", object)
        return found

    def _drift(self, answer: Mapping[str, Any], path: str, was: str, kind: type) -> SchemaDrift:
        kept = self.job.ws.data / "logs" / f"{self.name}-answer.json"
        durable.save(kept, masked(json.dumps(answer, indent=1)).encode())
        expected = "" if kind is object else f", expected {kind.__name__}"
        return SchemaDrift(
            f"{self.name} has changed its answers: `{path}` {was}{expected}; the answer is kept in {kept}, compare "
            f"collector/spiders/samples/{self.name}.json"
        )

    def note(self, text: str) -> None:
        """Tell the person once what this source makes of a search."""
        if text not in self.job.notes[self.name]:
            self.job.notes[self.name].append(text)

    def secrets(self) -> str:
        """The API key from the environment variable `key`. Raises `SourceDown` when it is not set."""
        value = os.environ.get(self.key, "")
        if not value:
            raise SourceDown(f"it needs a key in the environment variable {self.key}")
        keep_secret(value)
        return value


def _at(answer: Any, path: str, missing: object = None) -> Any:
    for name in path.split("."):
        answer = answer.get(name, missing) if isinstance(answer, Mapping) else missing
    return answer
