"""What is a secret by its shape, under any name and in any place.

Every pattern is anchored where it can begin and bounded where it repeats, so that the time grows
with the length of a text and not with its square. The part named ``keep`` stays.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REDACTED = "***"


class Shape(NamedTuple):
    """A kind of secret.

    Attributes:
        reason: What it is, for messages.
        hint: Text of which one must occur, in lower case, before the pattern is tried.
        pattern: Finds it; ``keep`` is what stays.
        holds: Decides whether a match is one; None accepts all.
    """

    reason: str
    hint: tuple[str, ...]
    pattern: re.Pattern[str]
    holds: Callable[[str], bool] | None = None


def _is_basic(match: str) -> bool:
    """Return whether a text after ``Basic`` is base64 of ``user:password``."""
    content = match.split()[-1]
    try:
        return b":" in base64.b64decode(content + "=" * (-len(content) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False


def _is_bearer(match: str) -> bool:
    return any(map(str.isdigit, match.split()[-1]))


def _is_aws_secret(match: str) -> bool:
    return (
        any(map(str.isupper, match))
        and any(map(str.islower, match))
        and any(map(str.isdigit, match))
        and match.count("/") <= 4
    )


@lru_cache(maxsize=1)
def shapes() -> tuple[Shape, ...]:
    """Return the shapes; compiled at the first use."""
    compiled = re.compile
    return (
        Shape(
            "a password in a URL",
            ("://",),
            compiled(
                r"(?P<keep>(?<![\w+.\-])[a-zA-Z][\w+.\-]{0,30}://[^\s/:@\"'<>]{0,256}:)"
                r"(?!\*\*\*@)[^\s/\"'<>]{1,512}(?=@)"
            ),
        ),
        Shape(
            "a password in a URL",
            ("%40", "jdbc:oracle"),
            compiled(
                r"(?P<keep>%3A%2F%2F[\w.\-]{1,128}%3A|jdbc:oracle:\w{1,16}:[\w.\-]{1,128}/)"
                r"[^\s/@&]{1,256}?(?=%40|@)",
                re.IGNORECASE,
            ),
        ),
        Shape(
            "a password or signature in a connection string",
            ("=",),
            compiled(
                r"(?P<keep>[;?&\"'](?:password|passwd|pwd|secret|token|sig|signature|accountkey|"
                r"sharedaccesskey|sharedaccesssignature|access_token|x-amz-signature|"
                r"x-amz-security-token|api[_-]?key|client_secret)=)"
                r"(?!\*\*\*|\$?\{|None\b|true\b|false\b|null\b|\d{1,5}(?!\w))[^;&\s\"']+",
                re.IGNORECASE,
            ),
        ),
        Shape(
            "an AWS access key id",
            ("akia", "asia"),
            compiled(r"(?P<keep>)(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])"),
        ),
        Shape(
            "an AWS secret access key",
            ("akia", "asia"),
            compiled(r"(?P<keep>)(?<![A-Za-z0-9/+=])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])"),
            _is_aws_secret,
        ),
        Shape(
            "a private key",
            ("private key-----",),
            compiled(
                r"(?P<keep>)-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----"
                r"(?:.*?-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|.*)",
                re.DOTALL,
            ),
        ),
        Shape(
            "a JSON web token",
            ("eyj",),
            compiled(
                r"(?P<keep>)(?<![\w\-.])eyJ[\w-]{8,4096}\.[\w-]{8,8192}(?:\.[\w-]{0,4096}){0,3}"
            ),
        ),
        Shape(
            "a bearer token",
            ("bearer",),
            compiled(
                r"(?P<keep>\bBearer(?:\s+|%20|\+))[A-Za-z0-9._~+/\-]{8,8192}=*", re.IGNORECASE
            ),
            _is_bearer,
        ),
        Shape(
            "a basic authorization",
            ("basic",),
            compiled(r"(?P<keep>\bBasic\s+)[A-Za-z0-9+/]{6,4096}={0,2}", re.IGNORECASE),
            _is_basic,
        ),
        Shape(
            "a webhook address",
            ("hook", "api.telegram.org", "chat.googleapis", "with/key", "integration/"),
            compiled(
                r"(?P<keep>https://(?:hooks\.slack\.com/(?:services|workflows|triggers)/|"
                r"[\w.-]{0,60}webhook\.office\.com/webhookb?2?/|outlook\.office(?:365)?\.com/webhook/|"
                r"(?:\w+\.)?discord(?:app)?\.com/api/(?:v\d+/)?webhooks/|"
                r"hooks\.zapier\.com/hooks/catch/|events\.pagerduty\.com/integration/|"
                r"api\.telegram\.org/(?:file/)?bot|chat\.googleapis\.com/v1/spaces/|"
                r"maker\.ifttt\.com/trigger/[\w-]{1,64}/(?:json/)?with/key/|"
                r"api\.opsgenie\.com/v1/json/\w{1,32}\?apiKey=))[^\s\"'<>)]{4,2048}"
            ),
        ),
        Shape(
            "a token of a known service",
            (
                *("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "sk_"),
                *("rk_live", "aiza", "sg.", "npm_", "pypi-", "dapi", "hf_", "sk-", "hvs.", "hvb."),
                *("dop_v1", "shpat_", "age-secret", "ya29.", "lin_api", "pmak-", "nrak-", "dp."),
                *("dckr_pat", "key-", "sntrys_", "glsa_", "eyjr", "atatt", "figd_", "pat"),
            ),
            compiled(
                r"(?P<keep>)(?<![A-Za-z0-9_\-])(?:gh[pousr]_[A-Za-z0-9]{20,255}|"
                r"github_pat_\w{20,255}|glpat-[\w-]{16,255}|xox[abeoprs]-[\w-]{10,255}|"
                r"[sr]k_(?:live|test)_[A-Za-z0-9]{10,255}|AIza[\w-]{30,40}|"
                r"SG\.[\w-]{16,64}\.[\w-]{16,64}|npm_[A-Za-z0-9]{30,64}|pypi-[\w-]{30,512}|"
                r"dapi[0-9a-f]{32}(?:-\d)?|hf_[A-Za-z0-9]{20,64}|"
                r"sk-(?:ant-|proj-|live-)?[\w-]{20,255}|hv[sb]\.[\w-]{20,255}|"
                r"dop_v1_[0-9a-f]{32,128}|shp(?:at|ss|ca|pa)_[0-9a-fA-F]{20,64}|"
                r"AGE-SECRET-KEY-1[A-Z0-9]{20,80}|ya29\.[\w-]{20,512}|lin_api_\w{20,64}|"
                r"PMAK-[0-9a-f-]{30,80}|NRAK-[A-Z0-9]{20,40}|dp\.(?:pt|st|ct)\.[\w.]{20,80}|"
                r"dckr_pat_[\w-]{20,64}|key-[0-9a-f]{32}|sntrys_[\w=+/-]{20,512}|"
                r"glsa_[A-Za-z0-9_]{20,64}|ATATT[\w=-]{20,512}|figd_[\w-]{20,80})"
            ),
        ),
    )


def find_shapes(text: str) -> Iterator[str]:
    """Yield what a text holds by its shape, in words."""
    lower = text.lower()
    for shape in shapes():
        if any(hint in lower for hint in shape.hint):
            for match in shape.pattern.finditer(text):
                if shape.holds is None or shape.holds(match[0]):
                    yield shape.reason
                    break


def without_shapes(text: str) -> str:
    """Return a text without what is a secret by its shape."""
    lower = text.lower()
    for shape in shapes():
        if any(hint in lower for hint in shape.hint):
            text = shape.pattern.sub(_replacement(shape), text)
    return text


def _replacement(shape: Shape) -> Callable[[re.Match[str]], str]:
    def replaced(match: re.Match[str]) -> str:
        is_one = shape.holds is None or shape.holds(match[0])
        return match["keep"] + REDACTED if is_one else match[0]

    return replaced
