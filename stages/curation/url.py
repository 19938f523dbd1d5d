"""URLs in one normal form, so that two spellings of an address are one (paper 3.1.1, URL de-duplication)."""

import re
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

TRACKING = re.compile(r"^(?:utm_\w+|fbclid|gclid|msclkid|mc_[ce]id|igshid|phpsessid|jsessionid|sid|sessionid|ref|ref_src)$", re.I)
INDEX = re.compile(r"/(?:index|default)\.(?:html?|php|aspx?|jsp)$", re.I)
PORTS = {"http": 80, "https": 443}


def normalise(url: str) -> str:
    """Lower-case host without `www.`, no scheme, default port, user, fragment, session or tracking parameter,
    no `index.html` or final slash, sorted query, one form of percent-encoding. A text that is no URL comes back as it is.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return url.strip()
    host = (parts.hostname or "").rstrip(".").removeprefix("www.")
    if not host:
        return url.strip()
    if port and port != PORTS.get(parts.scheme):
        host = f"{host}:{port}"
    path = re.sub(r";jsessionid=[^/]*", "", parts.path, flags=re.I)
    path = INDEX.sub("", quote(unquote(path), safe="/%:@!$&'()*+,;=~-._")).rstrip("/")
    query = sorted((key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True) if not TRACKING.match(key))
    return f"{host}{path}?{urlencode(query)}" if query else f"{host}{path}"


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
