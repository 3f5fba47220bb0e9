//! The thread that writes: it finds the end of what is there, and goes on.

use super::{Item, Options, Shared, Sign, Unwritten, server_record};
use crate::audit::files::{Files, Segment};
use crate::audit::hash;
use crate::{clock, files, records};
use bytes::Bytes;
use hostler_core::audit::frame::{self, Frame, Kind, Look};
use hostler_core::audit::{Checkpoint, Point, signed_words};
use hostler_types::Timestamp;
use hostler_types::time::whole_millis;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// The group that fills a segment goes beyond it by as much at most: a thousand calls
/// with long names.
const OVERHANG_BYTES: u64 = 2 * 1024 * 1024;
/// So that what is too old goes within a week, however quiet it is.
const SEGMENT_AGE_MAX: Duration = Duration::from_secs(7 * 86_400);
/// What a crash leaves unproven at most.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(10);
/// One write; the next group forms meanwhile.
const GROUP_MAX: usize = 1_024;
/// After a failure: do not spin.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// For what is due by the calendar.
const IDLE: Duration = Duration::from_secs(3_600);

/// While nothing can be written.
struct Failing {
    why: Unwritten,
    since: Timestamp,
    missed: u64,
    /// What was written and not synced may still be in the file.
    is_torn: bool,
}

pub(super) struct Writer {
    options: Options,
    sign: Sign,
    checkpoints: watch::Sender<Point>,
    notify: mpsc::Sender<String>,
    shared: Arc<Shared>,
    segments: Vec<Segment>,
    /// The newest segment's; none before the first record.
    file: Option<File>,
    /// What of it is durable.
    length: u64,
    end: Point,
    floor: u64,
    /// Records since the newest checkpoint.
    unproven: u64,
    /// When the next checkpoint is due at the latest.
    due: Option<Instant>,
    failing: Option<Failing>,
}

/// Records on their way to the file.
struct Group {
    bytes: Vec<u8>,
    end: Point,
    unproven: u64,
    head: Option<Point>,
}

impl Writer {
    pub fn new(
        options: Options,
        sign: Sign,
        checkpoints: watch::Sender<Point>,
        notify: mpsc::Sender<String>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            options,
            sign,
            checkpoints,
            notify,
            shared,
            segments: Vec::new(),
            file: None,
            length: 0,
            end: Point::default(),
            floor: 1,
            unproven: 0,
            due: None,
            failing: None,
        }
    }

    pub fn recover(&mut self, head: Option<Point>) -> io::Result<()> {
        self.segments = Files::find(&self.options.folder)?.segments;
        while let Some(last) = self.segments.last().cloned() {
            if self.take_up(&last)? {
                break;
            }
            // As a rule a crash came before its first record was durable.
            if fs::metadata(&last.path)?.len() == 0 {
                fs::remove_file(&last.path)?;
            } else {
                let aside = last.path.with_extension("unreadable");
                fs::rename(&last.path, &aside)?;
                self.tell(format!("a file of the audit log holds no record, and lies at {} now", aside.display()));
            }
            self.segments.pop();
        }
        let head = head.unwrap_or_default();
        if head.number > self.end.number {
            let last = self.end.number;
            self.tell(format!(
                "the audit log is cut off: records {} to {} are gone from its end",
                last + 1,
                head.number
            ));
            // The gap stays for `verify` to name.
            self.end = head;
        }
        self.show();
        Ok(())
    }

    /// Goes on behind a segment's last whole record; false if it has none.
    fn take_up(&mut self, segment: &Segment) -> io::Result<bool> {
        let bytes = fs::read(&segment.path)?;
        let (mut at, mut end, mut damaged) = (0, 0, false);
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let Look::Whole(one) = frame::look(rest) else {
                let Some(next) = frame::find(&bytes, at + 1) else { break };
                (at, damaged) = (next, true);
                continue;
            };
            self.pass(&one, rest.get(..one.bytes).unwrap_or_default());
            at += one.bytes;
            end = at;
        }
        if end == 0 {
            return Ok(false);
        }
        if damaged {
            self.tell("a record of the audit log is damaged: `hostlerctl audit verify` names it".to_owned());
        }
        let file = OpenOptions::new().write(true).open(&segment.path)?;
        if end < bytes.len() {
            file.set_len(end as u64)?;
            file.sync_all()?;
            tracing::info!(
                bytes = bytes.len() - end,
                after = self.end.number,
                "cut an unfinished record from the audit log"
            );
        }
        (self.file, self.length) = (Some(file), end as u64);
        Ok(true)
    }

    fn pass(&mut self, one: &Frame<'_>, whole: &[u8]) {
        self.end = Point { number: one.number, hash: hash(frame::covered(whole)) };
        self.unproven += 1;
        if one.kind == Kind::Checkpoint {
            self.unproven = 0;
            let floor = Checkpoint::decode(one.body).map_or(0, |checkpoint| checkpoint.floor);
            self.floor = self.floor.max(floor);
        }
    }

    pub fn run(mut self, items: &Receiver<Item>) {
        self.drop_old();
        loop {
            let first = match items.recv_timeout(self.pause()) {
                Ok(item) => item,
                Err(RecvTimeoutError::Timeout) => {
                    self.tick();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut group = vec![first];
            while group.len() < GROUP_MAX
                && let Ok(item) = items.try_recv()
            {
                group.push(item);
            }
            if !self.group(group) {
                return;
            }
        }
    }

    fn pause(&self) -> Duration {
        match self.due {
            _ if self.failing.is_some() => RETRY_AFTER,
            Some(due) => due.saturating_duration_since(Instant::now()),
            None => IDLE,
        }
    }

    fn tick(&mut self) {
        if self.failing.is_some() {
            self.resume();
        } else if self.due.is_some() {
            self.prove();
        } else {
            self.drop_old();
        }
        self.show();
    }

    /// False when it was the last.
    fn group(&mut self, items: Vec<Item>) -> bool {
        let (mut calls, mut close) = (Vec::with_capacity(items.len()), None);
        let (mut waiting, mut places) = (Vec::new(), 0);
        for item in items {
            match item {
                Item::Call { at, body, done, counted } => {
                    calls.push((at, body));
                    waiting.extend(done);
                    places += usize::from(counted);
                }
                Item::Close { done } => close = Some(done),
            }
        }
        let outcome = self.write(&calls);
        self.show();
        self.shared.places.add_permits(places);
        for done in waiting {
            drop(done.send(outcome.clone()));
        }
        // Now and not with the next call, which is to be refused before it does anything.
        if self.is_full(clock::wall())
            && self.failing.is_none()
            && let Err(error) = self.make_room(clock::wall())
        {
            self.fail(&error, 0);
        }
        self.show();
        let Some(done) = close else { return true };
        if self.unproven > 0 && self.failing.is_none() {
            self.prove();
            self.show();
        }
        let proven = self.failing.is_none() && self.unproven == 0;
        let _ = done.send(proven.then_some(self.end));
        false
    }

    fn write(&mut self, calls: &[(Timestamp, Bytes)]) -> Result<(), Unwritten> {
        if calls.is_empty() {
            return Ok(());
        }
        if self.failing.is_some() {
            self.resume();
        }
        if let Some(failing) = &mut self.failing {
            failing.missed += calls.len() as u64;
            return Err(failing.why.clone());
        }
        self.append(calls).map_err(|error| self.fail(&error, calls.len() as u64))
    }

    fn append(&mut self, calls: &[(Timestamp, Bytes)]) -> io::Result<()> {
        self.make_room(clock::wall())?;
        let mut group = self.begin();
        for (at, body) in calls {
            group.push(Kind::Call, *at, body);
        }
        if group.unproven >= self.options.checkpoint_records {
            self.sign_end(&mut group);
        }
        self.commit(group)?;
        self.shared.written.fetch_add(calls.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn begin(&self) -> Group {
        Group { bytes: Vec::with_capacity(16 * 1024), end: self.end, unproven: self.unproven, head: None }
    }

    fn sign_end(&self, group: &mut Group) {
        let (number, at, before) = (group.end.number + 1, clock::wall(), group.end.hash);
        let signature = (self.sign)(&signed_words(number, at, &before, self.floor));
        let body = Checkpoint { floor: self.floor, signature: &signature }.encode();
        group.push(Kind::Checkpoint, at, &body);
        (group.unproven, group.head) = (0, Some(group.end));
    }

    /// From here on it is true.
    fn commit(&mut self, group: Group) -> io::Result<()> {
        let Some(file) = &self.file else { return Err(io::Error::other("no segment is open")) };
        file.write_all_at(&group.bytes, self.length)?;
        file.sync_data()?;
        self.length += group.bytes.len() as u64;
        (self.end, self.unproven) = (group.end, group.unproven);
        if let Some(head) = group.head {
            self.checkpoints.send_replace(head);
        }
        self.due = match self.unproven {
            0 => None,
            _ => Some(self.due.unwrap_or_else(|| Instant::now() + CHECKPOINT_AFTER)),
        };
        Ok(())
    }

    fn prove(&mut self) {
        let mut group = self.begin();
        self.sign_end(&mut group);
        if let Err(error) = self.commit(group) {
            self.fail(&error, 0);
        }
    }

    /// A segment with room in it.
    fn make_room(&mut self, now: Timestamp) -> io::Result<()> {
        if self.file.is_some() && !self.is_full(now) {
            return Ok(());
        }
        self.roll(now)?;
        self.drop_old();
        Ok(())
    }

    fn is_full(&self, now: Timestamp) -> bool {
        let begun = self.segments.last().map_or(now, |segment| segment.first_at);
        self.length >= self.options.segment_bytes || now.since(begun) >= SEGMENT_AGE_MAX
    }

    fn roll(&mut self, now: Timestamp) -> io::Result<()> {
        let first = self.end.number + 1;
        let path = Segment::path(&self.options.folder, first);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        // Its room is taken now: a disk that is full is noticed before a call is let in.
        let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&file, flags, 0, self.options.segment_bytes + OVERHANG_BYTES) {
            Err(rustix::io::Errno::OPNOTSUPP) => {}
            outcome => outcome?,
        }
        file.sync_all()?;
        files::sync_folder(&self.options.folder)?;
        let (before, length) = (self.file.replace(file), std::mem::take(&mut self.length));
        let mut group = self.begin();
        self.sign_end(&mut group);
        if let Err(error) = self.commit(group) {
            (self.file, self.length) = (before, length);
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        if let Some(full) = before {
            // What was reserved and not used goes back.
            let _ = full.set_len(length);
        }
        self.segments.push(Segment { first, first_at: now, path });
        Ok(())
    }

    /// Drops what is too old; a signed checkpoint says so before.
    fn drop_old(&mut self) {
        let Some(oldest_kept) = clock::wall().as_millis().checked_sub(whole_millis(self.options.kept)) else {
            return;
        };
        let is_old = |next: &Segment| next.first_at.as_millis() < oldest_kept;
        let count = self.segments.iter().skip(1).take_while(|next| is_old(next)).count();
        let shared = Arc::clone(&self.shared);
        // Whoever reads is let finish: it goes the next time.
        let (true, Ok(_alone)) = (count > 0, shared.reading.try_write()) else { return };
        let floor_before = self.floor;
        self.floor = self.segments.get(count).map_or(self.floor, |segment| segment.first);
        self.prove();
        if self.failing.is_some() {
            self.floor = floor_before;
            return;
        }
        for segment in self.segments.drain(..count) {
            if let Err(error) = fs::remove_file(&segment.path) {
                tracing::warn!(file = %segment.path.display(), error = %error, "an old part of the audit log could not be removed");
            }
        }
        self.show();
    }

    fn fail(&mut self, error: &io::Error, missed: u64) -> Unwritten {
        let why = Unwritten(error.to_string());
        tracing::error!(error = %error, "the audit log can't be written");
        self.tell(format!("{why}; calls that change something are refused until it can"));
        self.failing = Some(Failing { why: why.clone(), since: clock::wall(), missed, is_torn: true });
        why
    }

    /// Another try: what was not acknowledged is cut away, and a new segment begun.
    fn resume(&mut self) {
        let Some(mut failing) = self.failing.take() else { return };
        match self.try_again(&mut failing) {
            Ok(()) => {
                tracing::info!(missed = failing.missed, "the audit log is written again");
                self.tell(format!("the audit log is written again; {}", missed_words(&failing)));
            }
            Err(error) => {
                failing.why = Unwritten(error.to_string());
                self.failing = Some(failing);
            }
        }
    }

    fn try_again(&mut self, failing: &mut Failing) -> io::Result<()> {
        if let Some(file) = self.file.as_ref().filter(|_| failing.is_torn) {
            file.set_len(self.length)?;
            file.sync_all()?;
        }
        failing.is_torn = false;
        let now = clock::wall();
        self.roll(now)?;
        let mut group = self.begin();
        let record = server_record("Resume", format!("{}: {}", missed_words(failing), failing.why.0));
        group.push(Kind::Call, now, &records::encode(&record));
        self.commit(group)
    }

    fn tell(&self, message: String) {
        if self.notify.try_send(message).is_err() {
            tracing::debug!("nobody listens to the audit log");
        }
    }

    fn show(&self) {
        let mut shown = self.shared.shown();
        shown.files.last_bytes = Some(self.length);
        if shown.files.segments != self.segments {
            shown.files.segments = self.segments.clone();
        }
        shown.end = self.end;
        shown.failing = self.failing.as_ref().map(|failing| failing.why.clone());
    }
}

impl Group {
    fn push(&mut self, kind: Kind, at: Timestamp, body: &[u8]) {
        let number = self.end.number + 1;
        let start = frame::encode(kind, number, at, &self.end.hash, body, &mut self.bytes);
        let whole = self.bytes.get(start..).unwrap_or_default();
        self.end = Point { number, hash: hash(frame::covered(whole)) };
        self.unproven += 1;
    }
}

fn missed_words(failing: &Failing) -> String {
    match failing.missed {
        0 => format!("no call was missed since {}", failing.since),
        1 => format!("1 call since {} is not in it", failing.since),
        many => format!("{many} calls since {} are not in it", failing.since),
    }
}
