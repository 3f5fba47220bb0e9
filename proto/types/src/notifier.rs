//! What a `notifier` object says: how notices are delivered, and where to.

use crate::plugin::WithProblem;
use crate::spec::nearest;
use serde_json::{Map, Value};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notifier {
    Smtp(Smtp),
    Webhook(Webhook),
    Slack(Url),
}

pub const BUILT_IN: [&str; 3] = ["smtp", "webhook", "slack"];

/// Anything else is a plugin's name.
pub fn is_built_in(plugin: &str) -> bool {
    BUILT_IN.contains(&plugin)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smtp {
    pub host: String,
    pub port: u16,
    pub security: Security,
    pub from: String,
    pub to: Vec<String>,
    /// Who logs in; nobody without a password.
    pub user: String,
    /// May name a secret: `${secret:smtp}`.
    pub password: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Begins in the clear, and goes on only with TLS.
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// Everybody on the way can read it.
    Plain,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    pub url: Url,
    /// What the body is signed with; may name a secret.
    pub secret: Option<String>,
}

/// An address that may itself be secret, as those of chats are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(pub String);

/// Where an `http` or `https` address leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    pub path: String,
}

impl Url {
    /// Of an address without references.
    pub fn place(text: &str) -> Option<Place> {
        let (scheme, rest) = text.split_once("://")?;
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = host_and_port(authority, if tls { 443 } else { 80 })?;
        let visible = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        let path = if path.is_empty() { "/" } else { path };
        (visible(&host) && visible(path) && !host.contains('@')).then(|| Place {
            tls,
            host,
            port,
            path: path.to_owned(),
        })
    }
}

/// `mail.example.com`, `mail.example.com:587`, `[::1]:25`.
fn host_and_port(text: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, default),
        Some((host, port)) => (host, port.strip_prefix(':')?.parse().ok()?),
        None => match text.split_once(':') {
            None => (text, default),
            Some((host, port)) => (host, port.parse().ok()?),
        },
    };
    (!host.is_empty() && port != 0).then(|| (host.to_owned(), port))
}

/// A secret that a text names.
pub fn secrets(text: &str) -> impl Iterator<Item = &str> {
    text.split("${secret:").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
}

/// Puts secrets in the place of their names.
pub fn reveal<E>(text: &str, mut secret: impl FnMut(&str) -> Result<String, E>) -> Result<String, E> {
    let mut pieces = text.split("${secret:");
    let mut whole = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.split_once('}') {
            Some((name, rest)) => whole.push_str(&format!("{}{rest}", secret(name)?)),
            None => whole.push_str(piece),
        }
    }
    Ok(whole)
}

impl Notifier {
    pub fn parse(plugin: &str, with: &Map<String, Value>) -> Result<Self, Vec<WithProblem>> {
        let mut reader = Reader { with, problems: Vec::new() };
        let made = match plugin {
            "smtp" => reader.smtp(),
            "webhook" => reader.webhook(),
            "slack" => reader.slack(),
            other => {
                let help = match nearest(other, BUILT_IN) {
                    Some(word) => format!("did you mean {word}?"),
                    None => format!("there are {}", BUILT_IN.join(", ")),
                };
                reader.problem("plugin", format!("is {other:?}, and no notifier delivers like that"), Some(help));
                None
            }
        };
        match made {
            Some(notifier) if reader.problems.is_empty() => Ok(notifier),
            _ => Err(reader.problems),
        }
    }

    /// Where it leads, for people: a chat's address is itself a secret.
    pub fn target(&self) -> String {
        let host = |url: &Url| match Url::place(&url.0) {
            Some(place) => format!("{}:{}", place.host, place.port),
            None => "a secret address".to_owned(),
        };
        match self {
            Self::Smtp(smtp) => format!("{} by {}:{}", smtp.to.join(", "), smtp.host, smtp.port),
            Self::Webhook(webhook) => host(&webhook.url),
            Self::Slack(url) => host(url),
        }
    }

    pub const fn word(&self) -> &'static str {
        match self {
            Self::Smtp(_) => "smtp",
            Self::Webhook(_) => "webhook",
            Self::Slack(_) => "slack",
        }
    }
}

/// Every problem at once, each at its key.
struct Reader<'a> {
    with: &'a Map<String, Value>,
    problems: Vec<WithProblem>,
}

impl Reader<'_> {
    fn problem(&mut self, key: &str, message: String, help: Option<String>) {
        let path = if key == "plugin" { "plugin".to_owned() } else { format!("with.{key}") };
        self.problems.push(WithProblem { path: path.trim_end_matches('.').to_owned(), message, help });
    }

    fn only(&mut self, known: &[&str]) {
        let unknown: Vec<String> = self.with.keys().filter(|key| !known.contains(&key.as_str())).cloned().collect();
        for key in unknown {
            let help = match nearest(&key, known.iter().copied()) {
                Some(word) => format!("did you mean {word}?"),
                None => format!("there are {}", known.join(", ")),
            };
            self.problem(&format!("{key}~"), "is no setting here".to_owned(), Some(help));
        }
    }

    fn text(&mut self, key: &str) -> Option<String> {
        match self.with.get(key)? {
            Value::String(text) if !text.is_empty() && !text.contains(['\r', '\n']) => Some(text.clone()),
            _ => {
                self.problem(key, "should be one line of text".to_owned(), None);
                None
            }
        }
    }

    fn needed(&mut self, key: &str, example: &str) -> Option<String> {
        if !self.with.contains_key(key) {
            self.problem("", format!("needs {key}"), Some(format!("add {example}")));
            return None;
        }
        self.text(key)
    }

    fn smtp(&mut self) -> Option<Notifier> {
        self.only(&["server", "tls", "from", "to", "user", "password"]);
        let server = self.needed("server", "server: mail.example.com:587");
        let to = self.addresses();
        let tls = self.text("tls");
        let security = match tls.as_deref() {
            None => None,
            Some("starttls") => Some(Security::StartTls),
            Some("tls") => Some(Security::Tls),
            Some("none") => Some(Security::Plain),
            Some(other) => {
                let message = format!("is {other:?}, and should be one of starttls, tls, none");
                self.problem("tls", message, None);
                None
            }
        };
        let default_port = if security == Some(Security::Tls) { 465 } else { 587 };
        let place = server.and_then(|server| {
            let place = host_and_port(&server, default_port);
            if place.is_none() {
                let help = Some("write it like this: server: mail.example.com:587".to_owned());
                self.problem("server", format!("is {server:?}, and should be a host, perhaps with a port"), help);
            }
            place
        });
        let from = self.text("from").or_else(|| to.first().cloned())?;
        self.address("from", &from);
        let user = self.text("user").unwrap_or_else(|| from.clone());
        let password = self.text("password");
        let (host, port) = place?;
        let security = security.unwrap_or(if port == 465 { Security::Tls } else { Security::StartTls });
        Some(Notifier::Smtp(Smtp { host, port, security, from, to, user, password }))
    }

    fn addresses(&mut self) -> Vec<String> {
        let found: Vec<Value> = match self.with.get("to") {
            None => {
                self.problem("", "needs to".to_owned(), Some("add to: admin@example.com".to_owned()));
                return Vec::new();
            }
            Some(Value::Array(list)) => list.clone(),
            Some(one) => vec![one.clone()],
        };
        let texts: Vec<String> = found.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        if texts.len() != found.len() || texts.is_empty() {
            self.problem("to", "should be an address, or a list of them".to_owned(), None);
        }
        for text in &texts {
            self.address("to", text);
        }
        texts
    }

    fn address(&mut self, key: &str, text: &str) {
        let fits = text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
        if !fits || !text.bytes().all(|b| b.is_ascii_graphic() && !b"<>,;\"".contains(&b)) {
            let help = Some(format!("write it like this: {key}: admin@example.com"));
            self.problem(key, format!("is {text:?}, and should be a mail address"), help);
        }
    }

    fn url(&mut self) -> Option<Url> {
        let url = self.needed("url", "url: https://hooks.example.com/hostler")?;
        if secrets(&url).next().is_none() && Url::place(&url).is_none() {
            let help = Some("write it like this: url: https://hooks.example.com/hostler".to_owned());
            self.problem("url", format!("is {url:?}, and should begin with https:// or http://"), help);
        }
        Some(Url(url))
    }

    fn webhook(&mut self) -> Option<Notifier> {
        self.only(&["url", "secret"]);
        let (url, secret) = (self.url(), self.text("secret"));
        Some(Notifier::Webhook(Webhook { url: url?, secret }))
    }

    fn slack(&mut self) -> Option<Notifier> {
        self.only(&["url"]);
        self.url().map(Notifier::Slack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(plugin: &str, with: &str, expect: &str) {
        let with: Map<String, Value> = serde_json::from_str(with).expect("JSON");
        let told = match Notifier::parse(plugin, &with) {
            Ok(notifier) => format!("{notifier:?}"),
            Err(problems) => {
                let lines = problems
                    .iter()
                    .map(|one| format!("{} {} ({})", one.path, one.message, one.help.as_deref().unwrap_or("-")));
                lines.collect::<Vec<_>>().join("\n")
            }
        };
        assert_eq!(told, expect, "{plugin} {with:?}");
    }

    #[test]
    fn a_mail_server_needs_little() {
        check(
            "smtp",
            r#"{"server": "mail.company.com:587", "to": "admin@company.com", "password": "${secret:smtp}"}"#,
            "Smtp(Smtp { host: \"mail.company.com\", port: 587, security: StartTls, from: \"admin@company.com\", to: [\"admin@company.com\"], user: \"admin@company.com\", password: Some(\"${secret:smtp}\") })",
        );
        check(
            "smtp",
            r#"{"server": "[::1]", "tls": "tls", "to": ["a@b", "c@d"], "from": "e@f", "user": "u"}"#,
            "Smtp(Smtp { host: \"::1\", port: 465, security: Tls, from: \"e@f\", to: [\"a@b\", \"c@d\"], user: \"u\", password: None })",
        );
    }

    #[test]
    fn mistakes_are_told_where_they_are() {
        check("smpt", "{}", "plugin is \"smpt\", and no notifier delivers like that (did you mean smtp?)");
        check(
            "smtp",
            r#"{"sever": "x", "tls": "ssl", "to": "a@b\r\nBcc: c@d"}"#,
            "with.sever~ is no setting here (did you mean server?)\nwith needs server (add server: mail.example.com:587)\nwith.to is \"a@b\\r\\nBcc: c@d\", and should be a mail address (write it like this: to: admin@example.com)\nwith.tls is \"ssl\", and should be one of starttls, tls, none (-)\nwith.from is \"a@b\\r\\nBcc: c@d\", and should be a mail address (write it like this: from: admin@example.com)",
        );
        check(
            "webhook",
            r#"{"url": "ftp://x"}"#,
            "with.url is \"ftp://x\", and should begin with https:// or http:// (write it like this: url: https://hooks.example.com/hostler)",
        );
        check("slack", "{}", "with needs url (add url: https://hooks.example.com/hostler)");
    }

    #[test]
    fn secrets_are_put_in_where_they_are_named() {
        let known = |name: &str| if name == "a" { Ok("A".to_owned()) } else { Err(name.to_owned()) };
        assert_eq!(reveal("x${secret:a}y${secret:a}", known), Ok("xAyA".to_owned()));
        assert_eq!(reveal("x${secret:b}", known), Err("b".to_owned()));
        assert_eq!(secrets("x${secret:b}/${secret:c}").collect::<Vec<_>>(), ["b", "c"]);
    }

    #[test]
    fn addresses_lead_to_places() {
        let place =
            |text| Url::place(text).map(|place| format!("{} {} {} {}", place.tls, place.host, place.port, place.path));
        assert_eq!(place("https://h.example/x?y=z").as_deref(), Some("true h.example 443 /x?y=z"));
        assert_eq!(place("http://[::1]:80").as_deref(), Some("false ::1 80 /"));
        assert_eq!(place("https://user:pass@h/"), None);
        assert_eq!(place("h.example"), None);
        assert_eq!(place("http://h/a b"), None);
    }
}
