"""Where am I? Asked of the cloud's own metadata service, and only for `--zone auto`.

AWS (IMDSv2), Google Cloud and Azure answer on the link-local address 169.254.169.254, which no packet leaves
the machine's own host for. Each is asked in its own way and told apart by its answer; proxies and redirects are
not followed, and every request ends after one second. What the hardware does to us: inside a container on AWS
the token request is lost on the way back (its hop limit is one by default), which looks like no cloud at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from time import monotonic
from typing import TYPE_CHECKING, final

from joulewise.catalogue.tables import read_facts

if TYPE_CHECKING:  # urllib costs 40 ms to import, and only `--zone auto` needs it
    from urllib.request import OpenerDirector

METADATA_URL = "http://169.254.169.254"
TIMEOUT_S = 1.0
_LARGEST_ANSWER_BYTES = 262144  # Azure hands back up to 64 KiB of the user's own data among the rest
_NAME = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
_HINT = "name the zone yourself, for instance --zone DE"


@dataclass(frozen=True, slots=True)
class CloudAnswer:
    """What the metadata service said: provider (aws, gcp, azure), region, its zone and the instance type.

    Empty strings are what it did not say; `why` then says why and what to do.
    """

    provider: str = ""
    region: str = ""
    zone: str = ""
    instance_type: str = ""
    why: str = ""


class _NoService(Exception):  # noqa: N818 - it names the state
    """Nothing answers at the address, or not in time."""


class _OtherAnswer(Exception):  # noqa: N818 - it names the state
    """Something answered, but not as this provider does."""


def ask_cloud(
    base_url: str = METADATA_URL, timeout_s: float = TIMEOUT_S, opener: OpenerDirector | None = None
) -> CloudAnswer:
    """Return where this machine runs, or an empty answer with the reason; takes at most about `3 * timeout_s`."""
    service = _Service(base_url, timeout_s, opener or metadata_opener())
    refusals = []
    for provider, ask in (("aws", _ask_aws), ("gcp", _ask_gcp), ("azure", _ask_azure)):
        try:
            region, instance_type = ask(service)
        except _NoService as error:
            return CloudAnswer(why=f"no cloud metadata service at {base_url} ({error}); {_HINT}")
        except _OtherAnswer as error:
            refusals.append(f"{provider}: {error}")
            continue
        zone = region_zone(provider, region)
        why = "" if zone else f"{provider} region {region!r} is not in the catalogue; {_HINT}"
        return CloudAnswer(provider, region, zone, instance_type, why)
    return CloudAnswer(
        why=f"the metadata service at {base_url} told no region ({'; '.join(refusals)}); {_HINT}"
    )


def region_zone(provider: str, region: str) -> str:
    """Return the zone (`DE`, `US-VA`) that a provider's region lies in, or an empty string."""
    return _regions().get((provider, region), "")


def metadata_opener() -> OpenerDirector:
    """Return an opener that follows neither proxy nor redirect."""
    from urllib.request import HTTPRedirectHandler, ProxyHandler, build_opener

    class Unredirected(HTTPRedirectHandler):
        """Makes a redirect an HTTP error: a metadata service sends none."""

        def redirect_request(self, *_args: object) -> None:
            """Return no new request."""

    return build_opener(ProxyHandler({}), Unredirected())


@final
class _Service:
    """The metadata service at one address, asked with a deadline."""

    def __init__(self, base_url: str, timeout_s: float, opener: OpenerDirector) -> None:
        self._base_url = base_url
        self._timeout_s = timeout_s
        self._opener = opener

    def ask(self, path: str, headers: Mapping[str, str], method: str = "GET") -> str:
        """Return the answer's text; raise when there is none, or it is an error."""
        from http.client import HTTPException
        from urllib.error import HTTPError, URLError
        from urllib.request import Request

        request = Request(self._base_url + path, headers=dict(headers), method=method)  # noqa: S310 - http by design
        until = monotonic() + self._timeout_s
        try:
            with self._opener.open(request, timeout=self._timeout_s) as response:
                body = b""
                while chunk := response.read1(_LARGEST_ANSWER_BYTES):
                    body += chunk
                    if len(body) > _LARGEST_ANSWER_BYTES:
                        raise _OtherAnswer("the answer is too long")
                    if monotonic() > until:
                        raise _NoService(f"the answer took longer than {self._timeout_s:g} s")
        except HTTPError as error:
            error.close()
            raise _OtherAnswer(f"HTTP {error.code}") from error
        except URLError as error:
            raise _NoService(str(error.reason)) from error
        except HTTPException as error:
            raise _OtherAnswer(f"no HTTP answer: {error!r}") from error
        except OSError as error:
            raise _NoService(str(error) or type(error).__name__) from error
        try:
            return body.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise _OtherAnswer("the answer is not text") from error


def _ask_aws(service: _Service) -> tuple[str, str]:
    token = service.ask("/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, "PUT")
    if not re.fullmatch(r"[A-Za-z0-9+/=_-]{1,1024}", token):
        raise _OtherAnswer("the token is not one")
    headers = {"X-aws-ec2-metadata-token": token}
    region = _name(service.ask("/latest/meta-data/placement/region", headers))
    return region, _optional(service, "/latest/meta-data/instance-type", headers)


def _ask_gcp(service: _Service) -> tuple[str, str]:
    headers = {"Metadata-Flavor": "Google"}
    zone = service.ask("/computeMetadata/v1/instance/zone", headers)  # projects/123/zones/europe-west3-a
    region, dash, _ = _name(zone.rpartition("/zones/")[2]).rpartition("-")
    if not dash or not zone.startswith("projects/"):
        raise _OtherAnswer("the zone is not one of Google's")
    return region, _optional(service, "/computeMetadata/v1/instance/machine-type", headers)


def _ask_azure(service: _Service) -> tuple[str, str]:
    text = service.ask("/metadata/instance/compute?api-version=2021-02-01", {"Metadata": "true"})
    try:
        compute = json.loads(text)
    except ValueError as error:
        raise _OtherAnswer("the answer is not JSON") from error
    if not isinstance(compute, dict):
        raise _OtherAnswer("the answer is not a JSON object")
    size = compute.get("vmSize")
    return _name(str(compute.get("location", ""))), size if isinstance(size, str) and _NAME.match(
        size
    ) else ""


def _optional(service: _Service, path: str, headers: Mapping[str, str]) -> str:
    try:
        return _name(service.ask(path, headers).rpartition("/")[2])
    except (_NoService, _OtherAnswer):
        return ""


def _name(text: str) -> str:
    if not _NAME.match(text):
        raise _OtherAnswer("the answer is no name")
    return text


@cache
def _regions() -> Mapping[tuple[str, str], str]:
    return {(row["provider"], row["region"]): row["zone"] for row in read_facts("cloud_regions.csv")}
