//! What waits for a second person.

use clap::Subcommand;

#[derive(Subcommand, Debug)]
pub enum ApproveCommand {
    /// List what waits
    Ls {
        /// Also what was decided, of the last week
        #[arg(long)]
        all: bool,
    },
    /// What it would do, as `plan` shows it
    Show { id: String },
    /// Agree to it: it is done at once, in the name of who asked
    Yes {
        id: String,
        /// Kept with it, and in the events
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Refuse it; or take back what you asked for
    No {
        id: String,
        /// Kept with it, and in the events
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Wait until it is decided, and say how
    Wait { id: String },
}
