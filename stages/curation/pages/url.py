"""Normalized URLs: two spellings of an address have one form (paper 3.1.1, URL de-duplication)."""

import re
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

TRACKING = re.compile(
    r"^(?:utm_\w+|fbclid|gclid|msclkid|mc_[ce]id|igshid|phpsessid|jsessionid|sid|sessionid|ref|ref_src)$", re.IGNORECASE
)
INDEX = re.compile(r"/(?:index|default)\.(?:html?|php|aspx?|jsp)$", re.IGNORECASE)
PORTS = {"http": 80, "https": 443}


def normalize_url(url: str) -> str:
    """The URL with a lower-case host without `www.`, a sorted query and one form of percent-encoding; without scheme,
    default port, user, fragment, session and tracking parameters, `index.html` and final slash. A text that is no URL
    is returned unchanged.
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


def host_of(url: str) -> str:
    """The host of a URL in lower case; empty if it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def rejection_reason(url: str, max_characters: int) -> str | None:
    """Why the page of a URL is not used, or None: not http(s), no host, or longer than `max_characters`."""
    if len(url) > max_characters:
        return "long"
    try:
        parts = urlsplit(url)
    except ValueError:
        return "malformed"
    if parts.scheme not in PORTS or not parts.hostname:
        return "malformed"
    return None
