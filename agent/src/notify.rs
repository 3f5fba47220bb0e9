//! Delivers a notice from this host, by a notifier as the control plane assigned it.

use crate::vault::Vault;
use hostler_types::NotifierAssignment;
use hostler_types::notice::Notice;
use hostler_types::notifier::Notifier;
use std::time::Duration;

/// One try, whatever the server does.
const TRY_TIMEOUT: Duration = Duration::from_secs(30);

/// What the other server said when it took the notice, or why it did not.
pub async fn deliver(by: &NotifierAssignment, notice: &Notice, vault: &Vault) -> Result<String, String> {
    let with =
        serde_json::from_str(&by.config_json).map_err(|error| format!("its configuration is no map: {error}"))?;
    let notifier = Notifier::parse(by.plugin.as_str(), &with).map_err(|problems| {
        let lines = problems.iter().map(|one| format!("{} {}", one.path, one.message));
        format!("the notifier can't be used: {}", lines.collect::<Vec<_>>().join("; "))
    })?;
    let sending = hostler_notify::deliver(&notifier, notice, |name| vault.text(name));
    let answer = tokio::time::timeout(TRY_TIMEOUT, sending).await;
    answer.unwrap_or_else(|_| Err(format!("no answer within {} s", TRY_TIMEOUT.as_secs())))
}
