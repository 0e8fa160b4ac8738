//! Where a browser may be sent on to after signing in: a path of the very host it
//! signed in at.

/// All that is podgate's own on a pod's host begins so.
pub const OWN_PATHS: &str = "/.podgate/";

/// The longest path to return to.
const LONGEST: usize = 4096;

/// The path that a text to return to means: a path, or a URL of the very origin
/// (`https://host`, with a port unless it is the usual one); `None` when it leads
/// anywhere else, or to ourselves.
pub fn return_path<'t>(text: &'t str, origin: &str) -> Option<&'t str> {
    let path = match text.get(..origin.len()) {
        Some(start) if start.eq_ignore_ascii_case(origin) => &text[origin.len()..],
        _ => text,
    };
    is_path(path).then_some(path)
}

/// Whether a text is a path on its host whatever a browser makes of it: those take `\`
/// for `/`, `//host` for another host, and drop control characters (URL, 4.4).
pub fn is_path(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_graphic() && b != b'\\';
    text.starts_with('/')
        && !text.starts_with("//")
        && text.len() <= LONGEST
        && text.bytes().all(good)
        && !text.starts_with(OWN_PATHS)
        && !has_dot_segments(text)
}

/// Whether a path has `.` or `..` for a segment, however written: browsers fold those, so
/// that it means another path than it says.
fn has_dot_segments(text: &str) -> bool {
    let path = text.split(['?', '#']).next().unwrap_or_default();
    path.split('/').any(|segment| {
        let segment = segment.to_ascii_lowercase().replace("%2e", ".");
        segment == "." || segment == ".."
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_host_is_returned_to() {
        let origin = "https://app-x-john.pinacle.dev:8443";
        let good = |text: &str, path: &str| assert_eq!(return_path(text, origin), Some(path), "{text}");
        good("/", "/");
        good("/a/b?c=d&e=%2F%2Fevil.example", "/a/b?c=d&e=%2F%2Fevil.example");
        good("/%2F%2Fevil.example", "/%2F%2Fevil.example");
        good("/%5Cevil.example", "/%5Cevil.example");
        good("/a..b/.c?d=/../e", "/a..b/.c?d=/../e");
        good("https://app-x-john.pinacle.dev:8443/a", "/a");
        good("HTTPS://APP-x-john.pinacle.dev:8443/a", "/a");
        for bad in [
            "",
            "a",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\evil.example",
            "\\\\evil.example",
            "/a\\b",
            "%2F%2Fevil.example",
            "%5Cevil.example",
            "/\t/evil.example",
            "\t//evil.example",
            "/\n/evil.example",
            "/\r\nSet-Cookie: a=b",
            " /a",
            "/a b",
            "/\u{e9}",
            "javascript:alert(1)",
            "https:evil.example",
            "https:/evil.example",
            "https://evil.example/",
            "http://app-x-john.pinacle.dev:8443/",
            "https://app-x-john.pinacle.dev/",
            "https://app-x-john.pinacle.dev:8443",
            "https://app-x-john.pinacle.dev:8443.evil.example/",
            "https://app-x-john.pinacle.dev:84430/",
            "https://app-x-john.pinacle.dev:8443@evil.example/",
            "https://app-x-john.pinacle.dev:8443//evil.example",
            "https://app-x-john.pinacle.dev:8443/\\evil.example",
            "/.podgate/login?ticket=again",
            "/.podgate/logout",
            "/./.podgate/logout",
            "/%2E/.podgate/logout",
            "/x/../.podgate/logout",
            "/x/%2e./.podgate/logout",
        ] {
            assert_eq!(return_path(bad, origin), None, "{bad:?}");
        }
        assert_eq!(return_path(&format!("/{}", "a".repeat(LONGEST)), origin), None);
    }
}
