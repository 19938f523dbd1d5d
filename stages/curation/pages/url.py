"""URLs in one normal form, so that two spellings of an address are one (paper 3.1.1, URL de-duplication)."""

import re
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

TRACKING = re.compile(
    r"^(?:utm_\w+|fbclid|gclid|msclkid|mc_[ce]id|igshid|phpsessid|jsessionid|sid|sessionid|ref|ref_src)$", re.IGNORECASE
)
INDEX = re.compile(r"/(?:index|default)\.(?:html?|php|aspx?|jsp)$", re.IGNORECASE)
PORTS = {"http": 80, "https": 443}


def normalise(url: str) -> str:
    """Lower-case host without `www.`, no scheme, default port, user, fragment, session or tracking parameter,
    no `index.html` or final slash, sorted query, one form of percent-encoding. A text that is no URL stays as it is.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return url.strip()
    site = (parts.hostname or "").rstrip(".").removeprefix("www.")
    if not site:
        return url.strip()
    if port and port != PORTS.get(parts.scheme):
        site = f"{site}:{port}"
    path = re.sub(r";jsessionid=[^/]*", "", parts.path, flags=re.IGNORECASE)
    path = INDEX.sub("", quote(unquote(path), safe="/%:@!$&'()*+,;=~-._")).rstrip("/")
    query = sorted(pair for pair in parse_qsl(parts.query, keep_blank_values=True) if not TRACKING.match(pair[0]))
    return f"{site}{path}?{urlencode(query)}" if query else f"{site}{path}"


def host(url: str) -> str:
    """The host of an address in lower case, or an empty text where it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def refuse(url: str, longest: int) -> str | None:
    """Why an address is no page to learn from, or None: not http(s), no host, or longer than `longest` characters."""
    if len(url) > longest:
        return "long"
    try:
        parts = urlsplit(url)
    except ValueError:
        return "malformed"
    if parts.scheme not in PORTS or not parts.hostname:
        return "malformed"
    return None
