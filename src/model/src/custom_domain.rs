//! Names of other people's that lead to services.

use serde::{Deserialize, Serialize};

use crate::{CertName, CertNameError, HostLabel, UnixMillis};

/// What stands before a name, at which the claim to it is shown.
const RECORD: &str = "_podgate-verify.";
/// RFC 1035, 2.3.4: octets of a name, without the final dot.
const MAX_NAME: usize = 253;

/// A claim to a name outside of the platform's own domain: that it is a service's.
///
/// Anybody may claim any name, so that a claim is worth nothing until its value stands in the
/// zone of the name; of all claims to a name one at most is verified, and the others go then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomDomain {
    /// The name; no wildcard, and not under the platform's domain.
    pub name: CertName,
    /// The service it shall lead to.
    pub host: HostLabel,
    /// What the TXT record at [`CustomDomain::record`] must say.
    pub value: String,
    /// When it did; requests for the name go to the service since.
    pub verified_at: Option<UnixMillis>,
}

impl CustomDomain {
    /// Where the TXT record must be that shows the claim.
    pub fn record(&self) -> String {
        format!("{RECORD}{}", self.name)
    }

    /// A name that may be claimed where the platform's own services are under `domain`.
    ///
    /// # Errors
    /// Why it may not be.
    pub fn name(text: &str, domain: &str) -> Result<CertName, CertNameError> {
        let name: CertName = text.parse()?;
        let bad = |reason: String| CertNameError {
            name: text.to_owned(),
            reason,
        };
        if name.wildcard().is_some() {
            return Err(bad("a service has whole names, and no wildcards".to_owned()));
        }
        let domain = domain.strip_suffix('.').unwrap_or(domain).to_ascii_lowercase();
        let front = name.as_str().strip_suffix(domain.as_str());
        if front.is_some_and(|front| front.is_empty() || front.ends_with('.')) {
            return Err(bad(format!("names of {domain} are the platform's own")));
        }
        let longest = MAX_NAME - RECORD.len();
        if name.as_str().len() > longest {
            let why = format!("it has more than {longest} characters, and `{RECORD}` must fit before it");
            return Err(bad(why));
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_whole_and_not_the_platforms_own() {
        let check = |text: &str, expected: Result<&str, &str>| match (CustomDomain::name(text, "Pods.Test."), expected)
        {
            (Ok(name), Ok(expected)) => assert_eq!(name.as_str(), expected),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (got, _) => panic!("{text}: {got:?}"),
        };
        check("App.Example.com.", Ok("app.example.com"));
        check("example.com", Ok("example.com"));
        // Above the domain, or beside it, is somebody else's.
        check("mypods.test", Ok("mypods.test"));
        check("pods.test.example.com", Ok("pods.test.example.com"));
        check("pods.test", Err("platform's own"));
        check("app.PODS.test", Err("platform's own"));
        check("a.b.pods.test", Err("platform's own"));
        check("*.example.com", Err("no wildcards"));
        check("test", Err("one label"));
        check("192.0.2.1", Err("number"));
        check("[2001:db8::1]", Err("not for names"));
        check("2001:db8::1", Err("not for names"));
        check("https://app.example.com", Err("no scheme"));
        check("app.example.com:443", Err("not for names"));
        check("my_app.example.com", Err("no host's name"));
        check("b\u{fc}ro.example.com", Err("A-labels"));
        check("", Err("empty"));
        let long = |length: usize| {
            let mut name = "a.".repeat(length / 2 - 2);
            name.push_str(if length.is_multiple_of(2) { "test" } else { "tests" });
            name
        };
        assert_eq!(long(237).len(), 237);
        check(&long(237), Ok(&long(237)));
        check(&long(238), Err("more than 237"));
        check(&format!("{}.com", "a".repeat(64)), Err("at most 63"));
    }

    #[test]
    fn a_claim_is_shown_beside_its_name() {
        let it = CustomDomain {
            name: "app.example.com".parse().expect("a name"),
            host: "app-web-john".parse().expect("a label"),
            value: "x".to_owned(),
            verified_at: None,
        };
        assert_eq!(it.record(), "_podgate-verify.app.example.com");
    }
}
