//! Where one hop of a request goes.

use crate::call::CallError;
use hostler_types::plugin::{Need, Scheme};
use hyper::Uri;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) scheme: Scheme,
    pub(super) host: String,
    pub(super) port: u16,
    /// As in the URL, for the Host header.
    pub(super) authority: String,
    pub(super) path: String,
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Target, CallError> {
        let wrong = |why: &str| CallError::Invalid(format!("url {url:?}: {why}"));
        let uri: Uri = url.parse().map_err(|_| wrong("not an absolute http or https URL"))?;
        let scheme =
            uri.scheme_str().and_then(Scheme::parse).ok_or_else(|| wrong("not an absolute http or https URL"))?;
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("user and password belong in an Authorization header"));
        }
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        if host.is_empty() {
            return Err(wrong("it names no host"));
        }
        // The parser has no port where there is one that is no port.
        let after_host = authority.as_str().get(authority.host().len()..).unwrap_or_default();
        let port = match after_host.strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| wrong("its port is no number from 1 to 65535"))?,
            None => scheme.default_port(),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Target { scheme, host, port, authority: authority.as_str().to_owned(), path })
    }

    pub(super) fn need(&self) -> Need {
        Need::Http { scheme: self.scheme, host: self.host.clone(), port: self.port }
    }

    pub(super) fn same_origin(&self, other: &Target) -> bool {
        (self.scheme, &self.host, self.port) == (other.scheme, &other.host, other.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_urls() {
        let target = Target::parse("http://Example.com:8080?x=1").expect("a URL");
        let expect = Target {
            scheme: Scheme::Http,
            host: "example.com".to_owned(),
            port: 8080,
            authority: "Example.com:8080".to_owned(),
            path: "/?x=1".to_owned(),
        };
        assert_eq!(target, expect);
        let six = Target::parse("https://[::1]/").expect("a URL");
        assert_eq!((six.host.as_str(), six.port), ("::1", 443));
    }

    #[test]
    fn refuses_urls_that_could_mean_two_things() {
        for url in ["/x", "example.com", "ftp://x/", "http://u:p@x/", "http:///x", "http://x:99999/", "http://a b/"] {
            assert!(matches!(Target::parse(url), Err(CallError::Invalid(_))), "{url}");
        }
    }
}
