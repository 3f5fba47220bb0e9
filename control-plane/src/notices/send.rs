//! One notice to one server.

use super::{smtp, web};
use crate::app::App;
use hostler_core::notices::notifier::{Url, reveal};
use hostler_core::notices::{Notice, Notifier, notice};
use hostler_types::Name;

/// A server may answer with a page; its first lines say what matters.
const ANSWER_CHARACTERS_MAX: usize = 300;

/// What the server said when it took the notice, or why it did not.
pub async fn deliver(app: &App, notifier: &Notifier, notice: &Notice) -> Result<String, String> {
    let mut revealed = Vec::new();
    let mut put = |text: &str| {
        reveal(text, |name| {
            let value = secret(app, name)?;
            revealed.push(value.clone());
            Ok::<_, String>(value)
        })
    };
    let answer = match notifier {
        Notifier::Smtp(smtp) => {
            let password = smtp.password.as_deref().map(&mut put).transpose()?;
            smtp::send(smtp, password, notice).await
        }
        Notifier::Webhook(webhook) => {
            let url = put(&webhook.url.0)?;
            let key = webhook.secret.as_deref().map(&mut put).transpose()?;
            web::post(&url, &notice::json(notice), &notice.id, key.as_deref()).await
        }
        Notifier::Slack(Url(url)) => {
            let url = put(url)?;
            web::post(&url, &notice::slack(notice), &notice.id, None).await
        }
    };
    // A server may say back what it was sent.
    let shown = |text: String| {
        let text = revealed.iter().fold(text, |text, value| text.replace(value.as_str(), "(secret)"));
        hostler_types::terminal::sanitize(&text).chars().take(ANSWER_CHARACTERS_MAX).collect()
    };
    answer.map(shown).map_err(shown)
}

fn secret(app: &App, name: &str) -> Result<String, String> {
    let name = Name::new(name).map_err(|error| error.to_string())?;
    let world = app.mirror.now();
    let value = world.secrets.get(&name).map(|record| app.vault.value(record, &name)).transpose();
    match value.map_err(|error| error.to_string())?.flatten() {
        Some(value) => String::from_utf8(value.to_vec()).map_err(|_| format!("secret {name} is no text")),
        None => Err(format!("secret {name} has no value: hostlerctl secret set {name}")),
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
