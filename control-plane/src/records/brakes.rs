//! What holds healing back, at rest.

use super::{RecordError, decode, encode};
use bytes::Bytes;
use hostler_core::brakes::{Brakes, Cause, Freeze, Maintenance};
use hostler_proto::store as rest;
use hostler_types::{Name, NodeId, Selector, Timestamp};

/// All that say on which node nothing acts by itself.
pub const BRAKES: &str = "/brake/";
pub const FREEZES: &str = "/brake/freeze/";
pub const MAINTENANCE: &str = "/brake/maintenance/";
pub const CAUSES: &str = "/brake/cause/";

pub fn freeze_key(id: &str) -> String {
    format!("{FREEZES}{id}")
}
pub fn maintenance_key(node: &NodeId) -> String {
    format!("{MAINTENANCE}{node}")
}
pub fn cause_key(check: &Name) -> String {
    format!("{CAUSES}{check}")
}

fn some_time(ms: u64) -> Option<Timestamp> {
    (ms != 0).then(|| Timestamp::from_millis(ms))
}

/// The selector as it was written: it has no other form.
pub fn encode_freeze(freeze: &Freeze) -> Bytes {
    encode(&rest::Freeze {
        selector: freeze.selector.to_string(),
        by: freeze.by.clone(),
        reason: freeze.reason.clone(),
        at_ms: freeze.at.as_millis(),
        until_ms: freeze.until.map_or(0, Timestamp::as_millis),
    })
}

pub fn encode_maintenance(maintenance: &Maintenance) -> Bytes {
    encode(&rest::Maintenance {
        by: maintenance.by.clone(),
        reason: maintenance.reason.clone(),
        at_ms: maintenance.at.as_millis(),
        until_ms: maintenance.until.map_or(0, Timestamp::as_millis),
    })
}

pub fn encode_cause(cause: &Cause) -> Bytes {
    encode(&rest::Cause { since_ms: cause.since.as_millis(), failing: cause.failing, nodes: cause.nodes })
}

/// Takes one record, by its key, or that it is gone.
pub fn apply(brakes: &mut Brakes, key: &str, value: Option<&[u8]>) -> Result<(), RecordError> {
    let damaged = |problem: String| RecordError::Damaged { key: key.to_owned(), problem };
    if let Some(id) = key.strip_prefix(FREEZES) {
        let Some(bytes) = value else {
            brakes.freezes.remove(id);
            return Ok(());
        };
        let one: rest::Freeze = decode(key, bytes)?;
        let freeze = Freeze {
            id: id.to_owned(),
            selector: Selector::parse(&one.selector).map_err(|error| damaged(error.to_string()))?,
            by: one.by,
            reason: one.reason,
            at: Timestamp::from_millis(one.at_ms),
            until: some_time(one.until_ms),
        };
        brakes.freezes.insert(freeze.id.clone(), freeze);
    } else if let Some(node) = key.strip_prefix(MAINTENANCE) {
        let node = NodeId::parse(node).map_err(|error| damaged(error.to_string()))?;
        let Some(bytes) = value else {
            brakes.maintenance.remove(&node);
            return Ok(());
        };
        let one: rest::Maintenance = decode(key, bytes)?;
        let at = Timestamp::from_millis(one.at_ms);
        brakes
            .maintenance
            .insert(node, Maintenance { by: one.by, reason: one.reason, at, until: some_time(one.until_ms) });
    } else if let Some(check) = key.strip_prefix(CAUSES) {
        let check = Name::new(check).map_err(|error| damaged(error.to_string()))?;
        let Some(bytes) = value else {
            brakes.causes.remove(&check);
            return Ok(());
        };
        let one: rest::Cause = decode(key, bytes)?;
        let since = Timestamp::from_millis(one.since_ms);
        brakes.causes.insert(check.clone(), Cause { check, since, failing: one.failing, nodes: one.nodes });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_reads_back_and_goes() {
        let node = NodeId::from_random([7; 10]);
        let check = Name::new("disk").expect("a name");
        let at = Timestamp::from_millis(7);
        let freeze = |id: &str, selector: &str, until| Freeze {
            id: id.to_owned(),
            selector: Selector::parse(selector).expect("a selector"),
            by: "ann".into(),
            reason: "storage work".into(),
            at,
            until,
        };
        let kept = Brakes {
            freezes: [freeze("a1", "all", None), freeze("b2", "role in (web, db), name!=web1", Some(at))]
                .map(|one| (one.id.clone(), one))
                .into(),
            maintenance: [(node.clone(), Maintenance { by: "kim".into(), reason: String::new(), at, until: Some(at) })]
                .into(),
            causes: [(check.clone(), Cause { check: check.clone(), since: at, failing: 6, nodes: 9 })].into(),
        };
        let mut records: Vec<(String, Bytes)> =
            kept.freezes.values().map(|one| (freeze_key(&one.id), encode_freeze(one))).collect();
        records.extend(kept.maintenance.iter().map(|(node, one)| (maintenance_key(node), encode_maintenance(one))));
        records.extend(kept.causes.values().map(|one| (cause_key(&one.check), encode_cause(one))));
        let mut read = Brakes::default();
        for (key, bytes) in &records {
            assert!(key.starts_with(BRAKES), "{key}: or no session hears of it");
            apply(&mut read, key, Some(bytes)).expect("reads");
        }
        assert_eq!(read, kept);
        let damaged = encode(&rest::Freeze { selector: "role in (".into(), ..rest::Freeze::default() });
        assert!(matches!(apply(&mut read, "/brake/freeze/x", Some(&damaged)), Err(RecordError::Damaged { .. })));
        for (key, _) in &records {
            apply(&mut read, key, None).expect("goes");
        }
        assert_eq!(read, Brakes::default());
    }
}
