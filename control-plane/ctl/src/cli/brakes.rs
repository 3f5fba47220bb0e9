//! What holds healing back.

use super::duration;
use clap::{Args, ValueEnum};
use std::time::Duration;

#[derive(Args, Debug)]
pub struct FreezeArgs {
    /// For how long; without it, until somebody thaws it
    #[arg(long = "for", value_name = "SPAN", value_parser = duration)]
    pub for_: Option<Duration>,
    /// Why; kept with it, and shown under every listing
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Only nodes that a selector of labels takes
    #[arg(short = 'l', long = "where", value_name = "SELECTOR")]
    pub selector: Option<String>,
}

#[derive(Args, Debug)]
pub struct ThawArgs {
    /// Only the freeze that was made with this selector
    #[arg(short = 'l', long = "where", value_name = "SELECTOR")]
    pub selector: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Somebody works on it: nothing acts there by itself
    On,
    /// It is as any other again
    Off,
}

#[derive(Args, Debug)]
pub struct MaintenanceArgs {
    #[arg(value_name = "NODE", required = true)]
    pub nodes: Vec<String>,
    #[arg(value_name = "on|off")]
    pub switch: Switch,
    /// For how long; without it, until it is switched off
    #[arg(long = "for", value_name = "SPAN", value_parser = duration)]
    pub for_: Option<Duration>,
    /// Why; kept with it, and shown under every listing
    #[arg(long, default_value = "")]
    pub reason: String,
}
