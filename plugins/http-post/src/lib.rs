//! Posts notices to a URL, as JSON.

use hostler_plugin_sdk::{
    ConfigError, Error, Host, Level, Notice, Notifier, Outcome, Request, Response, export_notifier,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

pub struct HttpPost;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    url: String,
    secret: Option<String>,
    #[serde(default = "default_header")]
    header: String,
    #[serde(default = "default_prefix")]
    prefix: String,
}

fn default_header() -> String {
    "authorization".to_owned()
}

fn default_prefix() -> String {
    "Bearer ".to_owned()
}

#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    title: &'a str,
    body: &'a str,
    state: &'a str,
    at: u64,
    attrs: BTreeMap<&'a str, &'a str>,
}

/// For a receiver that is down and does not say for how long.
const PAUSE: Duration = Duration::from_secs(5);
const ANSWER_CHARACTERS_MAX: usize = 200;

impl Notifier for HttpPost {
    type Options = Options;

    fn problems(options: &Options) -> Vec<ConfigError> {
        let lower = options.url.to_ascii_lowercase();
        if lower.starts_with("http://") || lower.starts_with("https://") {
            return Vec::new();
        }
        vec![ConfigError::new("/url", "is no URL: begin with http:// or https://")]
    }

    fn notify(options: &Options, notice: &Notice, host: &impl Host) -> Outcome {
        let body = Body {
            id: &notice.id,
            title: &notice.title,
            body: &notice.body,
            state: &notice.state,
            at: notice.at,
            attrs: notice.attrs.iter().map(|one| (one.key.as_str(), one.value.as_str())).collect(),
        };
        let body = match serde_json::to_vec(&body) {
            Ok(body) => body,
            Err(error) => return Outcome::Rejected(error.to_string()),
        };
        let mut request = Request::post(&options.url, body)
            .header("content-type", "application/json")
            .header("idempotency-key", &notice.id);
        if let Some(secret) = &options.secret {
            request = request.secret_header(&options.header, &options.prefix, secret);
        }
        match host.http(&request) {
            Ok(response) => judge(&response, host),
            Err(error @ (Error::Timeout | Error::Unreachable(_))) => later(host, &error.to_string(), PAUSE),
            Err(error) => Outcome::Rejected(error.to_string()),
        }
    }
}

fn judge(response: &Response, host: &impl Host) -> Outcome {
    let text = String::from_utf8_lossy(&response.body);
    let text: String = text.lines().next().unwrap_or_default().chars().take(ANSWER_CHARACTERS_MAX).collect();
    let words = format!("{} {text}", response.status).trim_end().to_owned();
    match response.status {
        200..=299 => Outcome::Delivered(words),
        429 | 500..=599 => {
            let asked = response.header("retry-after").and_then(|text| text.trim().parse().ok());
            later(host, &words, asked.map_or(PAUSE, Duration::from_secs))
        }
        _ => Outcome::Rejected(words),
    }
}

fn later(host: &impl Host, why: &str, pause: Duration) -> Outcome {
    host.log(Level::Warn, "not taken", &[("answer", why)]);
    Outcome::RetryAfter(pause)
}

export_notifier!(HttpPost);

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plugin_sdk::{FakeHost, read_options};

    const PLAIN: &str = r#"{"url": "http://x/", "secret": "http-post-token"}"#;

    fn told(answer: Result<Response, Error>) -> (Outcome, Vec<Request>) {
        let host = FakeHost { http: Some(answer), ..FakeHost::default() };
        let notice = Notice { id: "web1/db:1:1".into(), title: "db is down".into(), ..Notice::default() };
        let outcome = HttpPost::notify(&read_options(PLAIN).expect(PLAIN), &notice, &host);
        (outcome, host.requests.take())
    }

    fn answer(status: u16, headers: &[(&str, &str)]) -> Result<Response, Error> {
        let headers = headers.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Ok(Response { status, headers, body: b"said\nmore".to_vec(), ..Response::default() })
    }

    #[test]
    fn the_secret_and_the_id_go_along() {
        let (outcome, requests) = told(answer(201, &[]));
        assert_eq!(outcome, Outcome::Delivered("201 said".into()));
        let request = requests.first().expect("one request");
        assert_eq!(request.method, "POST");
        let secret = ("authorization".to_owned(), "Bearer ".to_owned(), "http-post-token".to_owned());
        assert_eq!(request.secret_headers, [secret]);
        assert!(request.headers.contains(&("idempotency-key".to_owned(), "web1/db:1:1".to_owned())));
        let body: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        assert_eq!(body["title"], "db is down");
    }

    #[test]
    fn what_passes_is_tried_again_and_the_rest_is_not_taken() {
        for (answer, expect) in [
            (answer(503, &[("Retry-After", "30")]), Outcome::RetryAfter(Duration::from_secs(30))),
            (answer(500, &[]), Outcome::RetryAfter(PAUSE)),
            (answer(429, &[("retry-after", "soon")]), Outcome::RetryAfter(PAUSE)),
            (answer(404, &[]), Outcome::Rejected("404 said".into())),
            (Err(Error::Timeout), Outcome::RetryAfter(PAUSE)),
            (Err(Error::Denied("grants.http".into())), Outcome::Rejected("denied: grants.http".into())),
        ] {
            assert_eq!(told(answer).0, expect);
        }
    }
}
