use super::*;
use proptest::prelude::*;
use std::hash::Hasher;

fn hash(bytes: &[u8]) -> Hash {
    let mut hash = [0; 32];
    for (index, part) in hash.chunks_mut(8).enumerate() {
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write_usize(index);
        hasher.write(bytes);
        part.copy_from_slice(&hasher.finish().to_le_bytes());
    }
    hash
}

/// Whoever does not know the key can't make one.
fn signature(words: &[u8]) -> Vec<u8> {
    hash(&[b"the key", words].concat()).to_vec()
}

fn signed(words: &[u8], given: &[u8]) -> bool {
    signature(words) == given
}

#[derive(Clone, Debug)]
struct Log {
    frames: Vec<Vec<u8>>,
    /// The newest checkpoint, as the state store has it.
    head: Point,
}

const EVERY: u64 = 7;

fn at(number: u64) -> Timestamp {
    Timestamp::from_millis(1_000 * number)
}

fn frame_of(kind: Kind, number: u64, before: &Hash, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::encode(kind, number, at(number), before, body, &mut bytes);
    bytes
}

/// With a checkpoint every so often, and at its end.
fn log(bodies: &[Vec<u8>]) -> Log {
    let (mut frames, mut before, mut head) = (Vec::new(), NOTHING_BEFORE, Point::default());
    let mut bodies = bodies.iter().peekable();
    for number in 1.. {
        let is_checkpoint = number % EVERY == 0 || bodies.peek().is_none();
        let bytes = if is_checkpoint {
            let signature = signature(&signed_words(number, at(number), &before, 1));
            let body = Checkpoint { floor: 1, signature: &signature }.encode();
            frame_of(Kind::Checkpoint, number, &before, &body)
        } else {
            frame_of(Kind::Call, number, &before, bodies.next().expect("there is one"))
        };
        before = hash(frame::covered(&bytes));
        if is_checkpoint {
            head = Point { number, hash: before };
        }
        frames.push(bytes);
        if is_checkpoint && bodies.peek().is_none() {
            break;
        }
    }
    Log { frames, head }
}

fn verify(frames: &[Vec<u8>], known: &[Point]) -> Result<Report, Bad> {
    let mut verifier = Verifier::new(Tools { hash: &hash, signed: &signed }, known);
    // As segments: a few frames in each.
    for segment in frames.chunks(5) {
        verifier.take(&segment.concat());
    }
    verifier.finish()
}

fn said(frames: &[Vec<u8>], head: Point) -> String {
    verify(frames, &[head]).map_or_else(|bad| bad.to_string(), |report| format!("{} calls", report.calls))
}

/// Another body, and a checksum that fits it.
fn edited(bytes: &[u8], before: Option<Hash>) -> Vec<u8> {
    let Look::Whole(old) = frame::look(bytes) else { panic!("whole") };
    let mut body = old.body.to_vec();
    if before.is_none() {
        body.push(b'!');
    }
    frame_of(old.kind, old.number, &before.unwrap_or(old.before), &body)
}

fn logs() -> impl Strategy<Value = Log> {
    let body = proptest::collection::vec(any::<u8>(), 0..30);
    proptest::collection::vec(body, 1..40).prop_map(|bodies| log(&bodies))
}

fn calls(count: u8) -> Log {
    log(&(0..count).map(|n| vec![n; 9]).collect::<Vec<_>>())
}

#[test]
fn each_kind_of_change_is_named_in_words() {
    let log = calls(30);
    assert_eq!(said(&log.frames, log.head), "30 calls");
    let changed = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut frames = log.frames.clone();
        change(&mut frames);
        said(&frames, log.head)
    };
    let told = [
        changed(&|frames| frames[10][70] ^= 1),
        changed(&|frames| frames[10] = edited(&frames[10], None)),
        changed(&|frames| frames[6] = edited(&frames[6], None)),
        changed(&|frames| drop(frames.remove(10))),
        changed(&|frames| drop(frames.drain(3..8))),
        changed(&|frames| frames.swap(10, 11)),
        changed(&|frames| drop(frames.pop())),
        changed(&|frames| frames.truncate(20)),
        changed(&|frames| frames[34].truncate(80)),
        changed(&|frames| frames.clear()),
        changed(&|frames| drop(frames.drain(..3))),
        changed(&|frames| {
            let mut before = NOTHING_BEFORE;
            for (index, bytes) in frames.iter_mut().enumerate() {
                *bytes = if index == 9 { edited(bytes, None) } else { edited(bytes, Some(before)) };
                before = hash(frame::covered(bytes));
            }
        }),
    ];
    let wanted = [
        "record 11 was edited",
        "record 11 was edited, or written anew together with others since checkpoint 7",
        "the signature of checkpoint 7 is wrong: it, or records since checkpoint 0, were written anew",
        "record 11 is missing",
        "records 4 to 8 are missing",
        "record 11 is out of order: it stands after record 12",
        "the log is cut off: record 35 is gone from its end",
        "the log is cut off: records 21 to 35 are gone from its end",
        "the log is cut off: record 35 is gone from its end",
        "the log is cut off: records 1 to 35 are gone from its end",
        "record 3 is missing",
        "the signature of checkpoint 14 is wrong: it, or records since checkpoint 7, were written anew",
    ];
    for (told, wanted) in told.iter().zip(wanted) {
        assert_eq!(told, wanted);
    }
}

#[test]
fn what_was_dropped_for_its_age_is_not_missed_and_what_was_taken_is() {
    let log = calls(30);
    // The first that is kept is a checkpoint, and a later one says so.
    let kept = &log.frames[13..];
    assert_eq!(said(kept, log.head), "records 1 to 13 are missing");
    let before = hash(frame::covered(&log.frames[34]));
    let words = signed_words(36, at(36), &before, 14);
    let body = Checkpoint { floor: 14, signature: &signature(&words) }.encode();
    let last = frame_of(Kind::Checkpoint, 36, &before, &body);
    let head = Point { number: 36, hash: hash(frame::covered(&last)) };
    let all = [kept, &[last]].concat();
    assert_eq!(said(&all, head), "18 calls");
    assert_eq!(said(&all[7..], head), "records 14 to 20 are missing");
    assert_eq!(said(&all[1..], head), "record 14 is missing");
}

#[test]
fn a_record_that_was_never_finished_is_no_fault() {
    let log = calls(3);
    let mut frames = log.frames.clone();
    let next = frame_of(Kind::Call, 5, &log.head.hash, b"never synced");
    frames.push(next[..40].to_vec());
    let report = verify(&frames, &[log.head]).expect("good");
    assert_eq!((report.last, report.torn_bytes), (4, 40));
}

proptest! {
    #[test]
    fn an_untouched_log_is_good(log in logs()) {
        prop_assert!(verify(&log.frames, &[log.head]).is_ok());
    }

    #[test]
    fn any_changed_byte_names_its_record(log in logs(), at in any::<prop::sample::Index>(), bit in 0u8..8, n in any::<prop::sample::Index>()) {
        let mut frames = log.frames.clone();
        let index = n.index(frames.len());
        let at = at.index(frames[index].len());
        frames[index][at] ^= 1 << bit;
        let bad = verify(&frames, &[log.head]).expect_err("changed");
        prop_assert_eq!(bad.number, index as u64 + 1);
    }

    #[test]
    fn any_edit_whose_checksum_fits_names_its_record(log in logs(), n in any::<prop::sample::Index>(), link in any::<bool>()) {
        let mut frames = log.frames.clone();
        let index = n.index(frames.len());
        frames[index] = edited(&frames[index], link.then_some([9; 32]));
        let bad = verify(&frames, &[log.head]).expect_err("edited");
        prop_assert_eq!(bad.number, index as u64 + 1, "{}", bad);
    }

    #[test]
    fn whatever_is_dropped_is_named(log in logs(), from in any::<prop::sample::Index>(), count in 1usize..9) {
        let mut frames = log.frames.clone();
        let from = from.index(frames.len());
        let to = (from + count).min(frames.len());
        frames.drain(from..to);
        let bad = verify(&frames, &[log.head]).expect_err("dropped");
        // Of the beginning, it may be that the last that is gone is named.
        let gone = from as u64 + 1..=to as u64;
        prop_assert!(gone.contains(&bad.number), "{}", bad);
        prop_assert!(from == 0 || bad.number == from as u64 + 1, "{}", bad);
    }

    #[test]
    fn any_swap_names_the_first_of_the_two(log in logs(), a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
        let mut frames = log.frames.clone();
        let (a, b) = (a.index(frames.len()), b.index(frames.len()));
        prop_assume!(a != b);
        frames.swap(a, b);
        let bad = verify(&frames, &[log.head]).expect_err("swapped");
        prop_assert!(bad.number == a.min(b) as u64 + 1 || a.min(b) == 0, "{}", bad);
    }

    #[test]
    fn any_cut_is_seen(log in logs(), at in any::<prop::sample::Index>()) {
        let all = log.frames.concat();
        let at = at.index(all.len());
        let bad = verify(&[all[..at].to_vec()], &[log.head]).expect_err("cut");
        let mut whole = 0;
        let mut bytes = 0;
        for one in &log.frames {
            bytes += one.len();
            whole += u64::from(bytes <= at);
        }
        prop_assert_eq!(bad.number, whole + 1, "{}", bad);
    }

    #[test]
    fn a_chain_written_anew_fails_at_the_next_checkpoint(log in logs(), n in any::<prop::sample::Index>()) {
        let mut frames = log.frames.clone();
        let from = n.index(frames.len());
        let mut before = None;
        for (index, bytes) in frames.iter_mut().enumerate().skip(from) {
            *bytes = if index == from { edited(bytes, None) } else { edited(bytes, before) };
            before = Some(hash(frame::covered(bytes)));
        }
        let bad = verify(&frames, &[log.head]).expect_err("written anew");
        prop_assert!(bad.number > from as u64, "{}", bad);
        let since = match bad.fault { Fault::Edited { since } | Fault::Signature { since } => since, _ => u64::MAX };
        prop_assert!(since <= from as u64, "{}", bad);
    }

    #[test]
    fn any_bytes_at_all_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = verify(&[bytes], &[Point::default()]);
    }
}
