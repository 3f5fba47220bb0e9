//! What to call this program in advice: by the command that was typed.

/// Set by `hostlerctl plugin`, which starts this program for its author's half.
const VARIABLE: &str = "HOSTLER_PLUGIN_CALLED_AS";

/// `hostler-plugin` or `hostlerctl plugin`.
pub fn called_as() -> String {
    std::env::var(VARIABLE).ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "hostler-plugin".to_owned())
}
