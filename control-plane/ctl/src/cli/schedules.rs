//! `hostlerctl schedule`

use super::HowArgs;
use clap::Subcommand;

#[derive(Subcommand, Debug)]
pub enum ScheduleCommand {
    /// List schedules: when each is due, and what became of the last time
    Ls,
    /// Everything about one schedule
    Show { name: String },
    /// When it is due next
    Next {
        name: String,
        /// So many times
        #[arg(short = 'n', long = "count", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
        count: u32,
    },
    /// Do what it does now, whenever it is due
    Run {
        name: String,
        #[command(flatten)]
        how: Box<HowArgs>,
    },
    /// Let nothing of it run until it is resumed; what passes meanwhile is not made up for
    Pause {
        name: String,
        /// Kept with it, for the others
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Let it go on
    Resume { name: String },
}
