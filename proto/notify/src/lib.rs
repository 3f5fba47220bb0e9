//! Delivers a notice to the server that a notifier names. What a notice says and
//! what a notifier asks for are `hostler-types`'; when to try again is decided by
//! whoever calls.
//!
//! Nothing is kept between notices but whom this machine trusts: no connection, no
//! task, no thread.

mod smtp;
pub mod web;

use data_encoding::HEXLOWER;
use hostler_types::notice::{self, Notice};
use hostler_types::notifier::{Notifier, Smtp, Url, reveal};
use hostler_types::terminal::sanitize;
use ring::digest;

/// A server may answer with a page; its first lines say what matters.
const ANSWER_CHARACTERS_MAX: usize = 300;

/// With its secrets in place.
enum Ready<'a> {
    Mail { smtp: &'a Smtp, password: Option<String> },
    Post { url: String, body: serde_json::Value, key: Option<String> },
}

/// What the server said when it took the notice, or why it did not. Secrets are
/// looked up before anything is sent.
pub fn deliver<'a>(
    notifier: &'a Notifier,
    notice: &'a Notice,
    mut secret: impl FnMut(&str) -> Result<String, String>,
) -> impl Future<Output = Result<String, String>> + Send + 'a {
    let mut revealed = Vec::new();
    let ready = ready(notifier, notice, |text| {
        reveal(text, |name| {
            let value = secret(name)?;
            revealed.push(value.clone());
            Ok(value)
        })
    });
    async move {
        let answer = match ready? {
            Ready::Mail { smtp, password } => smtp::send(smtp, password, notice).await,
            Ready::Post { url, body, key } => web::post(&url, &body, &notice.id, key.as_deref()).await,
        };
        // A server may say back what it was sent.
        let shown = |text: String| {
            let text = revealed.iter().fold(text, |text, value| text.replace(value.as_str(), "(secret)"));
            sanitize(&text).chars().take(ANSWER_CHARACTERS_MAX).collect()
        };
        answer.map(shown).map_err(shown)
    }
}

fn ready<'a>(
    notifier: &'a Notifier,
    notice: &Notice,
    mut put: impl FnMut(&str) -> Result<String, String>,
) -> Result<Ready<'a>, String> {
    Ok(match notifier {
        Notifier::Smtp(smtp) => Ready::Mail { smtp, password: smtp.password.as_deref().map(put).transpose()? },
        Notifier::Webhook(webhook) => Ready::Post {
            url: put(&webhook.url.0)?,
            body: notice::json(notice),
            key: webhook.secret.as_deref().map(put).transpose()?,
        },
        Notifier::Slack(Url(url)) => Ready::Post { url: put(url)?, body: notice::slack(notice), key: None },
    })
}

/// Ids may hold what a header may not.
fn header_id(id: &str) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, id.as_bytes()).as_ref())
}
