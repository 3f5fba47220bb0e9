//! Mail.

use crate::header_id;
use hostler_types::notice::{Notice, mail_text};
use hostler_types::notifier::{Security, Smtp};
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use std::error::Error;
use std::time::{Duration, SystemTime};

/// To connect. The conversation has what is left of the whole try: some servers are
/// slow on purpose.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// As RFC 3834 has it: nobody's holiday notice answers.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

fn words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let inner = error.to_string();
        // The library repeats some of its sources.
        if !text.contains(&inner) {
            text.push_str(&format!(": {inner}"));
        }
        source = error.source();
    }
    text
}

fn message(smtp: &Smtp, notice: &Notice) -> Result<Message, String> {
    let mailbox = |text: &str| -> Result<Mailbox, String> {
        Ok(Mailbox::new(None, text.parse().map_err(|error| format!("{text:?} is no mail address: {error}"))?))
    };
    let (_, domain) = smtp.from.split_once('@').unwrap_or_default();
    let id = header_id(&notice.id);
    let mut builder = Message::builder()
        .from(mailbox(&smtp.from)?)
        .subject(format!("[hostler] {}", notice.title))
        .date(SystemTime::UNIX_EPOCH + Duration::from_millis(notice.at.as_millis()))
        .message_id(Some(format!("<{id}@{domain}>")))
        .header(AutoSubmitted)
        .header(ContentType::TEXT_PLAIN);
    for to in &smtp.to {
        builder = builder.to(mailbox(to)?);
    }
    builder.body(mail_text(notice)).map_err(|error| words(&error))
}

/// A connection of its own for each: notices are rare.
pub async fn send(smtp: &Smtp, password: Option<String>, notice: &Notice) -> Result<String, String> {
    let message = message(smtp, notice)?;
    let parameters = || TlsParameters::builder(smtp.host.clone()).build_rustls().map_err(|error| words(&error));
    let tls = match smtp.security {
        Security::StartTls => Tls::Required(parameters()?),
        Security::Tls => Tls::Wrapper(parameters()?),
        Security::Plain => Tls::None,
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(smtp.host.clone())
        .port(smtp.port)
        .tls(tls)
        .timeout(Some(CONNECT_TIMEOUT));
    if let Some((_, domain)) = smtp.from.split_once('@') {
        builder = builder.hello_name(ClientId::Domain(domain.to_owned()));
    }
    if let Some(password) = password {
        builder = builder.credentials(Credentials::new(smtp.user.clone(), password));
    }
    let transport: AsyncSmtpTransport<Tokio1Executor> = builder.build();
    match transport.send(message).await {
        Ok(response) => {
            let lines: Vec<&str> = response.message().collect();
            Ok(format!("{} {}", response.code(), lines.join(" ")))
        }
        Err(error) => Err(words(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_types::notifier::Notifier;
    use hostler_types::{Name, Timestamp};

    #[test]
    fn how_a_mail_looks() {
        let with = serde_json::json!({"server": "mail.example.com", "to": ["a@example.com", "b@example.com"]});
        let Ok(Notifier::Smtp(smtp)) = Notifier::parse("smtp", with.as_object().expect("a map")) else {
            panic!("no mail server")
        };
        let name = Name::new("ops").expect("a name");
        let mut notice = Notice::test("test:1".into(), &name, "ann", Timestamp::from_millis(1_772_373_600_000));
        notice.title = "größer\nBcc: x".into();
        let bytes = message(&smtp, &notice).expect("a mail").formatted();
        insta::assert_snapshot!(String::from_utf8(bytes).expect("text").replace('\r', ""));
    }
}
