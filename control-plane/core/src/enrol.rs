//! Who may join, and as whom.

use hostler_types::{Labels, Timestamp};
use std::time::Duration;

/// Long enough for a walk to the machine, too short to be found in a log.
pub const TOKEN_TTL_DEFAULT: Duration = Duration::from_secs(15 * 60);
pub const TOKEN_TTL_MAX: Duration = Duration::from_secs(30 * 86_400);
pub const TOKEN_USES_MAX: u32 = 10_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub uses_left: u32,
    pub labels: Labels,
    pub created_by: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    #[error(
        "this join code is not known here, was used up, or was removed: make a new one with `hostlerctl token create`"
    )]
    Unknown,
    #[error("this join code has expired: make a new one with `hostlerctl token create`")]
    Expired,
    #[error("this join code was used up: make a new one with `hostlerctl token create`")]
    UsedUp,
}

/// The token as it is after one more use.
pub fn redeem(token: &Token, now: Timestamp) -> Result<Token, TokenRefusal> {
    if now >= token.expires_at {
        return Err(TokenRefusal::Expired);
    }
    let uses_left = token.uses_left.checked_sub(1).ok_or(TokenRefusal::UsedUp)?;
    Ok(Token { uses_left, ..token.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token {
            created_at: Timestamp::from_millis(0),
            expires_at: Timestamp::from_millis(1_000),
            uses_left: 2,
            labels: Labels::from([("role".into(), "web".into())]),
            created_by: "admin".into(),
        }
    }

    #[test]
    fn a_token_works_so_often_and_so_long() {
        let now = Timestamp::from_millis(999);
        let once = redeem(&token(), now).expect("first use");
        let twice = redeem(&once, now).expect("second use");
        assert_eq!(redeem(&twice, now), Err(TokenRefusal::UsedUp));
        assert_eq!(redeem(&token(), Timestamp::from_millis(1_000)), Err(TokenRefusal::Expired));
    }
}
