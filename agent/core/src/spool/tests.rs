use super::record::{self, BODY_BYTES_MAX, HEADER_BYTES, Header, Scan, scan};
use super::*;
use proptest::prelude::*;

fn written(records: &[(u64, Vec<u8>)]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    for (sequence, body) in records {
        bytes.extend(record::encode(*sequence, body).expect("not too long"));
        ends.push(bytes.len());
    }
    (bytes, ends)
}

fn numbered(bodies: &[Vec<u8>]) -> Vec<(u64, Vec<u8>)> {
    bodies.iter().enumerate().map(|(at, body)| (at as u64 + 1, body.clone())).collect()
}

fn owned(scan: &Scan<'_>) -> Vec<(u64, Vec<u8>)> {
    scan.records.iter().map(|(sequence, body)| (*sequence, body.to_vec())).collect()
}

#[test]
fn headers_and_lengths() {
    let header = Header { spool_id: 77 };
    let bytes = record::encode_header(header);
    assert_eq!(bytes.len(), HEADER_BYTES);
    assert_eq!(record::decode_header(&bytes), Some(header));
    assert_eq!(record::decode_header(&bytes[..HEADER_BYTES - 1]), None);
    assert_eq!(record::decode_header(b"HSPL\x02\0\0\0\0\0\0\0\0\0\0"), None);
    assert_eq!(record::encode(1, &vec![0; BODY_BYTES_MAX + 1]), None);
}

#[test]
fn an_unfinished_write_is_told_from_damage() {
    let (bytes, ends) = written(&numbered(&[b"one".to_vec(), b"two".to_vec()]));
    let cut = scan(&bytes[..ends[1] - 1], 0);
    assert_eq!((cut.records.len(), cut.unfinished, cut.damaged_bytes), (1, true, 0));
    let mut zeros = bytes[..ends[0]].to_vec();
    zeros.extend([0; 19]);
    assert!(scan(&zeros, 0).unfinished);
    let mut flipped = bytes.clone();
    *flipped.last_mut().expect("bytes") ^= 1;
    let flipped = scan(&flipped, 0);
    assert_eq!((flipped.records.len(), flipped.unfinished), (1, false));
    assert!(flipped.torn_bytes > 0);
}

#[test]
fn a_full_spool_refuses_counts_and_recovers() {
    let mut ledger = Ledger::new(Limits { budget_bytes: 1_000, segment_bytes: 300 });
    let mut kept = 0;
    for _ in 0..20 {
        match ledger.admit(100, false) {
            Admission::Append { segment, fresh } => {
                if fresh {
                    ledger.began(segment);
                }
                ledger.appended(ledger.next_sequence(), 100);
                kept += 1;
            }
            Admission::Refused { reason } => ledger.lost(1, reason),
        }
    }
    assert!(ledger.bytes() <= 1_000);
    assert_eq!(ledger.loss().map(|loss| loss.count), Some(20 - kept));
    assert!(ledger.loss().is_some_and(|loss| loss.reason.contains("1000 bytes")));
    assert!(!ledger.ack(4).is_empty());
    assert!(matches!(ledger.admit(100, false), Admission::Append { .. }));
    assert!(matches!(ledger.admit(100, true), Admission::Refused { .. }));
}

#[test]
fn numbers_are_never_used_twice() {
    let mut ledger = Ledger::new(Limits { budget_bytes: 10_000, segment_bytes: 300 });
    ledger.found(5, Some(9), 200);
    ledger.found(10, None, 40);
    assert_eq!(ledger.next_sequence(), 11);
    assert!(matches!(ledger.admit(10, false), Admission::Append { segment: 11, fresh: true }));
    ledger.skip_damaged(25);
    assert_eq!(ledger.next_sequence(), 13);
    ledger.ack(40);
    assert_eq!(ledger.next_sequence(), 41);
    assert!(matches!(ledger.admit(10, false), Admission::Append { segment: 41, fresh: true }));
}

proptest! {
    #[test]
    fn what_was_written_is_read(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20)) {
        let records = numbered(&bodies);
        let (bytes, _) = written(&records);
        let scan = scan(&bytes, 0);
        prop_assert_eq!(owned(&scan), records);
        prop_assert_eq!((scan.damaged_bytes, scan.torn_bytes), (0, 0));
    }

    /// A power cut leaves a prefix: every record that was whole is read.
    #[test]
    fn every_prefix_keeps_its_whole_records(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 1..12),
        cut in 0.0f64..1.0,
    ) {
        let records = numbered(&bodies);
        let (bytes, ends) = written(&records);
        let cut = (bytes.len() as f64 * cut) as usize;
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let scan = scan(&bytes[..cut], 0);
        prop_assert_eq!(owned(&scan), records[..whole].to_vec());
        let on_a_border = cut == 0 || ends.contains(&cut);
        prop_assert_eq!(scan.unfinished, !on_a_border);
    }

    /// One flipped byte costs the record it is in, nothing else.
    #[test]
    fn damage_costs_one_record(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 2..12),
        place in 0.0f64..1.0, bit in 0u8..8,
    ) {
        let records = numbered(&bodies);
        let (mut bytes, ends) = written(&records);
        let place = ((bytes.len() - 1) as f64 * place) as usize;
        bytes[place] ^= 1 << bit;
        let hit = ends.iter().filter(|end| **end <= place).count();
        let mut rest = records;
        rest.remove(hit);
        let scan = scan(&bytes, 0);
        prop_assert_eq!(owned(&scan), rest);
        prop_assert!(scan.damaged_bytes + scan.torn_bytes > 0);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = scan(&bytes, 0);
        let _ = record::decode_header(&bytes);
    }

    /// Appends and acks in any order: nothing unacked is forgotten, the budget
    /// holds, numbers go up.
    #[test]
    fn nothing_unacked_is_forgotten(steps in prop::collection::vec((0u8..4, 1u64..120), 1..200)) {
        let mut ledger = Ledger::new(Limits { budget_bytes: 2_000, segment_bytes: 400 });
        let mut held: Vec<(SegmentId, u64)> = Vec::new();
        let mut last = 0;
        for (kind, number) in steps {
            match kind {
                0 => {
                    let acked = number.min(last);
                    let forgotten = ledger.ack(acked);
                    for (segment, sequence) in &held {
                        prop_assert!(!forgotten.contains(segment) || *sequence <= ledger.acked());
                    }
                    held.retain(|(segment, _)| !forgotten.contains(segment));
                }
                1 if number < 10 => ledger.failed(0),
                _ => if let Admission::Append { segment, fresh } = ledger.admit(number, false) {
                    if fresh {
                        prop_assert!(held.iter().all(|one| one.0 != segment));
                        ledger.began(segment);
                    }
                    let sequence = ledger.next_sequence();
                    prop_assert!(sequence > last);
                    last = sequence;
                    ledger.appended(sequence, number);
                    held.push((segment, sequence));
                }
            }
            prop_assert!(ledger.bytes() <= 2_000);
            let unacked: Vec<SegmentId> = ledger.segments_after(ledger.acked()).collect();
            for (segment, sequence) in held.iter().filter(|one| one.1 > ledger.acked()) {
                prop_assert!(unacked.contains(segment), "{} in {}", sequence, segment);
            }
        }
    }
}
