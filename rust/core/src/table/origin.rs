//! Where a URL leads: the one parser behind every check and every call.
use url::Url;

/// The canonical origin of a URL that this node may keep or call: `https://host` or `https://host:port`,
/// host in lower case, the scheme's own port left out.
///
/// `None` for everything that two parsers could read differently or that has no place in a URL given by a
/// party (`safety.md` A56, A84): relative ones, other schemes than http and https, user info, a fragment, port 0,
/// white space, backslashes, control bytes, anything outside ASCII.
pub fn origin_of(url: &str) -> Option<String> {
    // The parser drops tabs and newlines and turns backslashes round: then what is checked is not what is sent.
    if !url
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    {
        return None;
    }
    // `https:host` and `https:///host` are mended by the parser too; only the plain form is taken.
    let (scheme, rest) = url.split_once("://")?;
    if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") || rest.starts_with('/') {
        return None;
    }
    // `@` right before the host is user info, even if both halves are empty.
    let authority = rest.split(['/', '?', '#']).next()?;
    let parsed = Url::parse(url).ok()?;
    if authority.contains('@') || parsed.fragment().is_some() || parsed.port() == Some(0) {
        return None;
    }
    Some(parsed.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port_in_one_spelling() {
        for (url, origin) in [
            ("https://Example.COM/ocpi", "https://example.com"),
            ("https://example.com:443", "https://example.com"),
            ("HTTP://example.com:80/?a=b", "http://example.com"),
            ("https://example.com:8443/x", "https://example.com:8443"),
            ("http://127.0.0.1:9000/a@b", "http://127.0.0.1:9000"),
            ("http://0x7f.1/", "http://127.0.0.1"),
            ("http://2130706433/", "http://127.0.0.1"),
            ("http://[::1]:80/", "http://[::1]"),
            ("https://example.com./", "https://example.com."),
        ] {
            assert_eq!(origin_of(url).as_deref(), Some(origin), "{url}");
        }
    }

    #[test]
    fn test_a84_doubtful_urls_have_no_origin() {
        for url in [
            "",
            "/ocpi/x",
            "//example.com/x",
            "example.com/x",
            "ftp://example.com",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "https:example.com",
            "https:/example.com",
            "https:///example.com",
            "https://user@example.com/",
            "https://user:pw@example.com/",
            "https://@example.com/",
            "https://example.com\\@evil.com/",
            "https://exa\tmple.com/",
            "https://example.com/\n",
            " https://example.com",
            "https://example.com/#x",
            "https://example.com/x#",
            "https://example.com:0/",
            "https://example.com:99999/",
            "https://ex\u{3002}com/",
            "https://exämple.com/",
            "https://",
            "https://?x",
            "https://a b.com/",
        ] {
            assert_eq!(origin_of(url), None, "{url:?}");
        }
    }
}
