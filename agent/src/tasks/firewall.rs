//! Rules of nftables on trial: they stay only if this host reaches its control plane
//! under them. The old ones are put back by systemd, whatever becomes of the agent.

use super::hands::{Hands, Unfit};
use crate::connect;
use crate::identity::Identity;
use hostler_agent_core::tasks::Fate;
use hostler_executor::protocol::{Act, Content};
use hostler_types::time::whole_millis;
use hostler_types::units::format_duration;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// Between two tries to reach the control plane.
const AGAIN: Duration = Duration::from_secs(2);
/// What the executor needs to say that they stay, before the old ones come back.
const SPARE: Duration = Duration::from_secs(2);

/// The control plane, and as whom it is spoken to.
pub struct Reach {
    pub state_dir: PathBuf,
    pub address: String,
}

impl Hands {
    pub async fn try_firewall(&self, rules: &str, revert: Duration, reach: Reach) -> Result<Fate, Unfit> {
        let failed = |words| Some(Fate::Failed(words));
        let rules = self.scripts.get(rules).await.map_err(|words| failed(format!("its rules: {words}")))?;
        let identity = Identity::load(&reach.state_dir).map_err(|error| failed(error.to_string()))?;
        let began = Instant::now();
        let done = self.done(Act::TryFirewall { rules: Content(rules), revert_ms: whole_millis(revert) }).await?;
        // Somewhere between these it began to count.
        let (until, over) = (began + revert.saturating_sub(SPARE), Instant::now() + revert + SPARE);
        match reached(&reach.address, &identity, until).await {
            Ok(()) => {
                let kept = self.done(Act::KeepFirewall).await?;
                if kept.already {
                    return Err(failed("the old rules were put back before it was said that these stay".to_owned()));
                }
                let words = if done.changed { "rules loaded" } else { "" };
                Ok(Fate::Done { words: words.to_owned(), changed: done.changed })
            }
            Err(why) => {
                tokio::time::sleep_until(over).await;
                Err(failed(format!(
                    "under these rules the host did not reach its control plane within {}, and the old ones were put \
                     back: {why}",
                    format_duration(revert)
                )))
            }
        }
    }
}

/// By a connection of its own: those that stand may go on where no new one does.
async fn reached(address: &str, identity: &Identity, until: Instant) -> Result<(), String> {
    loop {
        let tried = tokio::time::timeout_at(until, connect::reach(address, identity)).await;
        let why = match tried {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(why)) => why,
            Err(_) => format!("{address} did not answer"),
        };
        if Instant::now() + AGAIN >= until {
            return Err(why);
        }
        tokio::time::sleep(AGAIN).await;
    }
}
