//! Signals by the names that people write.

use rustix::process::Signal;

const NAMES: [(&str, Signal); 11] = [
    ("SIGTERM", Signal::TERM),
    ("SIGINT", Signal::INT),
    ("SIGQUIT", Signal::QUIT),
    ("SIGHUP", Signal::HUP),
    ("SIGKILL", Signal::KILL),
    ("SIGUSR1", Signal::USR1),
    ("SIGUSR2", Signal::USR2),
    ("SIGWINCH", Signal::WINCH),
    ("SIGCONT", Signal::CONT),
    ("SIGSTOP", Signal::STOP),
    ("SIGABRT", Signal::ABORT),
];

pub fn find(name: &str) -> Option<Signal> {
    NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, signal)| signal)
}

pub fn known() -> String {
    NAMES.map(|(name, _)| name).join(", ")
}
