//! What came in: looks, answers, ends.

use super::machine::{ON_THE_HOST, Supervisor};
use super::pace::Next;
use super::replica::Phase;
use super::words::span;
use super::{Checked, Effect, End, How, Key, Outcome, REFUSED_AGAIN, RETRY, START_GRACE, Seen, THEIRS_AGAIN, Trouble};
use hostler_types::service::Act;
use hostler_types::units::format_duration;
use hostler_types::{Deed, Name, Now, ServiceVerb};

impl Supervisor {
    pub(super) fn looked(&mut self, now: Now, key: &Key, seen: Seen) {
        let Some(service) = self.services.get_mut(&key.service) else { return };
        let (theirs, fingerprint) = (service.is_adopted(), service.fingerprint);
        let placed = service.files.placed.clone();
        let Some(replica) = self.replica(key) else { return };
        let was_theirs = matches!(replica.phase, Phase::Theirs { .. });
        if !matches!(replica.phase, Phase::Unknown | Phase::LookAt(_) | Phase::Theirs { .. }) {
            return;
        }
        match seen {
            Seen::Running { pid, .. } if was_theirs => self.appeared(now, key, pid),
            Seen::Running { pid, age } => {
                replica.enter(now, Phase::Up);
                let age = age.unwrap_or_default();
                let started = now.monotonic.saturating_sub(age);
                (replica.pid, replica.started) = (pid, Some((started, now.wall.minus(age))));
                // What it read is not known: as it stands there now, then.
                replica.read.get_or_insert(placed);
                let first = replica.runs_as.is_none();
                if theirs || first {
                    // What runs is taken as it is: nobody remembers another.
                    replica.runs_as = Some(fingerprint);
                    self.effects.push(Effect::Keep);
                }
                if theirs && first {
                    let act = self.act(now, key, Deed::Adopted, "");
                    self.effects.push(Effect::Record(Box::new(act)));
                }
                if let Some(service) = self.services.get_mut(&key.service) {
                    service.probe_at = Some(now.monotonic);
                }
            }
            Seen::Coming => replica.enter(now, Phase::Theirs { until: now.monotonic.saturating_add(THEIRS_AGAIN) }),
            Seen::Ended(end) if replica.runs_as.is_some() || was_theirs => self.gone(now, key, end, false),
            Seen::Ended(end) => {
                replica.last_end = Some(end);
                replica.enter(now, Phase::Down);
            }
            Seen::Nothing if was_theirs => self.gone(now, key, End { how: How::Unknown, tail: Vec::new() }, false),
            Seen::Nothing => replica.enter(now, Phase::Down),
        }
    }

    pub(super) fn started(&mut self, now: Now, key: &Key, op: u64, result: Result<Option<u32>, Trouble>) {
        let placed = self.placed(&key.service);
        let Some(replica) = self.replica(key).filter(|one| one.phase == Phase::Starting { op }) else { return };
        match result {
            Ok(pid) => {
                if replica.read.replace(placed.clone()) != Some(placed) {
                    self.effects.push(Effect::Keep);
                }
                let Some(replica) = self.replica(key) else { return };
                replica.reading = None;
                replica.enter(now, Phase::Up);
                (replica.pid, replica.started) = (pid, Some((now.monotonic, now.wall)));
                replica.forced = false;
                self.begun(now, &key.service);
            }
            Err(Trouble::Refused(words)) => {
                let again = Some(now.monotonic.saturating_add(REFUSED_AGAIN));
                replica.enter(now, Phase::Held { words: words.clone(), again });
                replica.forced = false;
                let act = replica.act.take();
                self.settle(now, key, act, format!("refused by this host: {words}"), Deed::Held);
                self.fail_orders(&key.service, &words);
            }
            Err(Trouble::Failed(words)) => {
                // The first line says what; those after it are what another program printed.
                let mut lines = words.lines().map(str::to_owned);
                let how = How::Never(lines.next().unwrap_or_default());
                self.gone(now, key, End { how, tail: lines.collect() }, false);
            }
            Err(Trouble::Lost(_)) => self.look_again(now, key),
        }
    }

    pub(super) fn look_again(&mut self, now: Now, key: &Key) {
        if let Some(replica) = self.replica(key) {
            replica.enter(now, Phase::LookAt(now.monotonic.saturating_add(RETRY)));
        }
    }

    pub(super) fn stopped(&mut self, now: Now, key: &Key, op: u64, result: Result<(), Trouble>) {
        let Some(replica) = self.replica(key).filter(|one| one.phase == Phase::Stopping { op }) else { return };
        match result {
            Ok(()) => {
                replica.enter(now, Phase::Down);
                replica.runs_as = None;
                let bounce = std::mem::take(&mut replica.bounce);
                if !bounce {
                    let act = replica.act.take();
                    self.settle(now, key, act, "stopped".to_owned(), Deed::Stopped);
                }
                self.effects.push(Effect::Keep);
            }
            Err(Trouble::Refused(words) | Trouble::Failed(words) | Trouble::Lost(words)) => {
                replica.not_before = now.monotonic.saturating_add(RETRY);
                replica.bounce = false;
                let act = replica.act.take();
                self.settle(now, key, act, format!("could not be stopped: {words}"), Deed::Failed);
                self.fail_orders(&key.service, &words);
                self.look_again(now, key);
            }
        }
    }

    pub(super) fn reloaded(&mut self, now: Now, key: &Key, result: Result<(), Trouble>) {
        let Some(replica) = self.replica(key) else { return };
        let act = replica.act.take();
        // Also where it failed: that is told, and not done again and again.
        if let Some(reading) = replica.reading.take() {
            replica.read = Some(reading);
            self.effects.push(Effect::Keep);
        }
        let words = match result {
            Ok(()) => {
                self.answer_orders(&key.service, |verb| verb == ServiceVerb::Reload, Outcome::Done, "reloaded");
                "reloaded".to_owned()
            }
            Err(Trouble::Refused(words) | Trouble::Failed(words) | Trouble::Lost(words)) => {
                self.fail_orders(&key.service, &words);
                format!("could not be reloaded: {words}")
            }
        };
        self.settle(now, key, act, words, Deed::Reloaded);
    }

    pub(super) fn ended(&mut self, now: Now, key: &Key, pid: Option<u32>, end: End) {
        let Some(replica) = self.replica(key) else { return };
        // Of a program that was there before the present one.
        if pid.is_some() && replica.pid.is_some() && replica.pid != pid {
            return;
        }
        if replica.is_up() {
            self.gone(now, key, end, true);
        }
    }

    /// It is not there any more, and we did not stop it.
    pub(super) fn gone(&mut self, now: Now, key: &Key, end: End, ran: bool) {
        let Some(service) = self.services.get_mut(&key.service) else { return };
        service.well_since = None;
        let (theirs, wanted) = (service.is_theirs() && ran, service.wanted());
        let Some(replica) = self.replica(key) else { return };
        let lived = replica.started.map(|(at, _)| now.monotonic.saturating_sub(at)).filter(|_| ran);
        let pid = replica.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        let saw = lived.map_or_else(|| end.to_string(), |lived| format!("{end} after {}{pid}", span(lived)));
        let stopped = end.how == How::Stopped;
        let tail = end.tail.clone();
        replica.last_end = Some(end);
        // What was begun and ended in this is told by what follows.
        let begun = replica.act.take();
        if std::mem::take(&mut replica.bounce) {
            replica.act = begun;
            return replica.enter(now, Phase::Down);
        }
        if !wanted {
            return replica.enter(now, Phase::Down);
        }
        if stopped {
            return self.stopped_by_others(now, key, saw);
        }
        let mut act = self.act(now, key, Deed::Restarted, "restart");
        act.saw.push(saw);
        act.saw.extend(begun.map(|(begun, _)| format!("act {} had begun and was not well yet", begun.id)));
        act.tail = tail;
        if theirs {
            "restart.by = unit: systemd starts it again".clone_into(&mut act.rule);
            if let Some(replica) = self.replica(key) {
                replica.enter(now, Phase::Theirs { until: now.monotonic.saturating_add(THEIRS_AGAIN) });
            }
            self.effects.push(Effect::Record(Box::new(Act { deed: Deed::Ended, ..act.clone() })));
            self.effects.push(Effect::Look { key: key.clone() });
        } else {
            self.back_off(now, key, &mut act);
        }
        if let Some(replica) = self.replica(key) {
            replica.act = Some((act, now.monotonic));
        }
    }

    pub(super) fn stopped_by_others(&mut self, now: Now, key: &Key, saw: String) {
        if let Some(service) = self.services.get_mut(&key.service) {
            service.stopped = Some(ON_THE_HOST.to_owned());
        }
        if let Some(replica) = self.replica(key) {
            replica.enter(now, Phase::Down);
            replica.runs_as = None;
        }
        let mut act = self.act(now, key, Deed::Stopped, "");
        ON_THE_HOST.clone_into(&mut act.by);
        act.saw.push(saw);
        "what somebody stopped on the host stays so until it is started".clone_into(&mut act.rule);
        self.effects.push(Effect::Record(Box::new(act)));
        self.effects.push(Effect::Keep);
    }

    /// Says when it is started again, and tells of it where that is not now.
    pub(super) fn back_off(&mut self, now: Now, key: &Key, act: &mut Act) {
        let Some(policy) = self.services.get(&key.service).map(|one| one.assignment.restart) else { return };
        let Self { services, jitter, .. } = self;
        let replica = services.get_mut(&key.service);
        let replica = replica.and_then(|one| one.replicas.get_mut(usize::try_from(key.replica).ok()?));
        let Some(replica) = replica else { return };
        let used = replica.pace.used(now.monotonic, &policy);
        let Next { at, crashing } = replica.pace.next(now.monotonic, &policy, jitter);
        let newly = crashing && !replica.crashing;
        replica.crashing |= crashing;
        replica.by_itself = true;
        replica.enter(now, Phase::Backoff { until: at, crashing });
        let wait = at.saturating_sub(now.monotonic);
        let tries = format!("attempts {used} of {} in {}", policy.attempts, format_duration(policy.within));
        if crashing {
            let restarts = if policy.attempts == 1 { "restart" } else { "restarts" };
            let within = format_duration(policy.within);
            act.rule = format!("after {} {restarts} in {within} it goes on slowly", policy.attempts);
            act.refused.push(tries);
        } else {
            "what ended is started again".clone_into(&mut act.rule);
            act.allowed.push(tries);
        }
        if newly {
            let mut told = self.act(now, key, Deed::Crashing, "restart");
            (told.saw, told.tail) = (act.saw.clone(), act.tail.clone());
            (told.rule, told.refused) = (act.rule.clone(), act.refused.clone());
            told.result = Some(format!("tried again in {}", span(wait)));
            self.effects.push(Effect::Record(Box::new(told)));
        } else if !wait.is_zero() {
            let mut ended = Act { deed: Deed::Ended, ..act.clone() };
            ended.result = Some(format!("started again in {}", span(wait)));
            self.effects.push(Effect::Record(Box::new(ended)));
        }
    }

    pub(super) fn appeared(&mut self, now: Now, key: &Key, pid: Option<u32>) {
        let Some(service) = self.services.get_mut(&key.service) else { return };
        let (fingerprint, placed) = (service.fingerprint, service.files.placed.clone());
        if service.stopped.as_deref() == Some(ON_THE_HOST) {
            service.stopped = None;
        }
        let Some(replica) = self.replica(key) else { return };
        if matches!(replica.phase, Phase::Starting { .. } | Phase::Stopping { .. } | Phase::Unknown)
            || (replica.is_up() && replica.pid == pid)
        {
            return;
        }
        let theirs = matches!(replica.phase, Phase::Theirs { .. });
        let again = theirs || replica.is_up();
        replica.enter(now, Phase::Up);
        (replica.pid, replica.started) = (pid, Some((now.monotonic, now.wall)));
        replica.runs_as = Some(fingerprint);
        (replica.read, replica.reading) = (Some(placed), None);
        replica.restarts += u64::from(again);
        replica.pace.started(now.monotonic);
        if let Some(service) = self.services.get_mut(&key.service) {
            service.restarts += u64::from(again);
        }
        let pending = self.replica(key).and_then(|one| one.act.take());
        let (mut act, at) = match pending {
            Some(pending) => pending,
            None => (self.act(now, key, if again { Deed::Restarted } else { Deed::Started }, ""), now.monotonic),
        };
        if theirs { "systemd" } else { ON_THE_HOST }.clone_into(&mut act.by);
        if let Some(replica) = self.replica(key) {
            replica.act = Some((act, at));
        }
        self.begun(now, &key.service);
        self.effects.push(Effect::Keep);
    }

    pub(super) fn checked(&mut self, checked: &Checked) {
        for service in self.services.values_mut() {
            service.take(checked);
        }
    }

    /// Its checks are about something new.
    pub(super) fn begun(&mut self, now: Now, name: &Name) {
        let Some(service) = self.services.get_mut(name) else { return };
        service.begun(now);
        let until = now.monotonic.saturating_add(START_GRACE);
        for check in service.checks.keys() {
            self.effects.push(Effect::Forgive { check: check.clone(), until });
        }
        service.ladder.not_before = service.ladder.not_before.max(until);
    }
}
