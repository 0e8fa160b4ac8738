use super::*;

fn fields(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name: HeaderName = name.parse().expect("a name");
        headers.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    headers
}

#[test]
fn whatever_names_the_host_must_agree() {
    let hosts = Hosts::new("pinacle.dev");
    let check = |lines: &[(&str, &str)], expected: Result<&str, Refusal>| {
        let got = host(&fields(lines), &hosts, &HostTemplate::default());
        let got = got.as_ref().map(|host| host.to_str().expect("text"));
        assert_eq!(got, expected.as_ref().map(|host| *host), "{lines:?}");
    };
    let names = [("x-service", "app"), ("x-pod", "my-pod"), ("x-user", "john")];
    let with = |more: &[(&'static str, &'static str)]| [&names[..], more].concat();
    const APP: &str = "app-my-pod-john.pinacle.dev";
    check(&[("x-forwarded-host", APP)], Ok(APP));
    check(&[("x-original-host", APP)], Ok(APP));
    check(
        &[
            ("x-forwarded-host", APP),
            ("x-original-host", "APP-my-pod-john.pinacle.dev"),
        ],
        Ok("APP-my-pod-john.pinacle.dev"),
    );
    check(
        &[("x-forwarded-host", "a.b"), ("x-original-host", "b.a")],
        Err(CONFLICTING),
    );
    check(
        &[("x-forwarded-host", "a.b"), ("x-forwarded-host", "b.a")],
        Err(CONFLICTING),
    );
    check(&names, Ok(APP));
    check(
        &with(&[("x-forwarded-host", "App-my-pod-john.pinacle.dev:8443")]),
        Ok(APP),
    );
    check(
        &with(&[("x-forwarded-host", "api-my-pod-john.pinacle.dev")]),
        Err(CONFLICTING),
    );
    check(
        &with(&[("x-original-host", "app-my-pod-john.evil.test")]),
        Err(CONFLICTING),
    );
    check(&with(&[("x-user", "mary")]), Err(NOT_SO));
    check(&names[..2], Err(Refusal::Malformed(Malformed::MissingHost)));
    check(&[], Err(Refusal::Malformed(Malformed::MissingHost)));
    // The subrequest's own is the auth server's.
    check(&[("host", APP)], Err(Refusal::Malformed(Malformed::MissingHost)));
    check(
        &[("x-service", "a.b"), ("x-pod", "my-pod"), ("x-user", "john")],
        Err(Refusal::NoRoute),
    );
}
