//! One notice to one server.

use super::{smtp, web};
use crate::config::Config;
use hostler_core::notices::notifier::{Url, reveal};
use hostler_core::notices::{Notice, Notifier, notice};
use hostler_types::Name;
use std::path::Path;

/// What the server said when it took the notice, or why it did not.
pub async fn deliver(config: &Config, notifier: &Notifier, notice: &Notice) -> Result<String, String> {
    let secret = |name: &str| secret(&config.secrets_dir, name);
    let answer = match notifier {
        Notifier::Smtp(smtp) => {
            let password = smtp.password.as_deref().map(|text| reveal(text, secret)).transpose()?;
            smtp::send(smtp, password, notice).await
        }
        Notifier::Webhook(webhook) => {
            let url = reveal(&webhook.url.0, secret)?;
            let key = webhook.secret.as_deref().map(|text| reveal(text, secret)).transpose()?;
            web::post(&url, &notice::json(notice), &notice.id, key.as_deref()).await
        }
        Notifier::Slack(Url(url)) => {
            let url = reveal(url, secret)?;
            web::post(&url, &notice::slack(notice), &notice.id, None).await
        }
    };
    let shown = |text: String| hostler_types::terminal::sanitize(&text).chars().take(ANSWER_CHARACTERS_MAX).collect();
    answer.map(shown).map_err(shown)
}

/// A server may answer with a page; its first lines say what matters.
const ANSWER_CHARACTERS_MAX: usize = 300;

/// The one place where notices get a secret from.
fn secret(folder: &Path, name: &str) -> Result<String, String> {
    let name = Name::new(name).map_err(|error| error.to_string())?;
    let path = folder.join(name.as_str());
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => Err(format!("the secret {name} can't be read from {}: {error}", path.display())),
    }
}

/// Where a notifier leads, for people: a chat's address is itself a secret.
pub fn target(notifier: &Notifier) -> String {
    let host = |url: &Url| match Url::place(&url.0) {
        Some(place) => format!("{}:{}", place.host, place.port),
        None => "a secret address".to_owned(),
    };
    match notifier {
        Notifier::Smtp(smtp) => format!("{} by {}:{}", smtp.to.join(", "), smtp.host, smtp.port),
        Notifier::Webhook(webhook) => host(&webhook.url),
        Notifier::Slack(url) => host(url),
    }
}
