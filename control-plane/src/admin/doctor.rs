//! What is so, for `hostler_core::doctor` to judge.

use crate::access::{Caller, grant_of, may};
use crate::app::App;
use crate::approvals;
use crate::audit;
use crate::clock;
use crate::vault::KEY_FILE;
use crate::world::World;
use crate::{addresses, pki};
use hostler_core::access::{ADMIN, Ask, Noun, Verb};
use hostler_core::doctor::{Asker, Audit, Backup, Credential, Facts, KeyFile, Node, Notifier, findings};
use hostler_proto::admin as wire;
use hostler_types::spec::{Body, Kind};
use hostler_types::{NodeState, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tonic::Status;

/// What whoever asks may tell of; more than a control plane has addresses.
const UNREACHABLE_MAX: usize = 16;
/// A segment of the audit log ends with the day in which it is full.
const AUDIT_SLACK: Duration = Duration::from_secs(2 * 86_400);

pub async fn diagnose(
    app: &Arc<App>,
    caller: &Caller,
    request: wire::DiagnoseRequest,
) -> Result<wire::DiagnoseResponse, Status> {
    let asker = Asker {
        operator: caller.name().to_owned(),
        version: request.version,
        credential_ends: caller.until,
        by_token: caller.identity.token.is_some(),
        clock_ahead_ms: request.clock_ahead_ms,
        unreachable: request.unreachable.into_iter().take(UNREACHABLE_MAX).map(|one| (one.address, one.why)).collect(),
    };
    let app = Arc::clone(app);
    // Files and a whole fleet are looked at.
    let facts = tokio::task::spawn_blocking(move || collect(&app, asker)).await;
    let found = findings(&facts.map_err(|error| Status::internal(error.to_string()))?);
    let to_wire = |one: hostler_core::doctor::Finding| wire::Finding {
        name: one.name.to_owned(),
        severity: one.severity.word().to_owned(),
        text: one.text,
        help: one.help,
    };
    Ok(wire::DiagnoseResponse { findings: found.into_iter().map(to_wire).collect() })
}

fn collect(app: &App, asker: Asker) -> Facts {
    let (world, now) = (app.mirror.now(), clock::wall());
    let ends = app.certificate_ends_ms.load(Ordering::Relaxed);
    let (secrets_without_value, secrets_under_older_key) = secrets(app, &world);
    let waiting = world.artifacts.values().filter(|pushed| pushed.artifact.waiting);
    Facts {
        now,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        asker,
        server_certificate_ends: (ends != 0).then_some(Timestamp::from_millis(ends)),
        authority_ends: pki::not_after(app.pki.authority()),
        advertises_loopback: addresses::only_loopback(&app.agent_addresses()),
        data_folder: app.config.data_dir.display().to_string(),
        disk: rustix::fs::statvfs(&app.config.data_dir)
            .ok()
            .map(|disk| (disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize))),
        backup: world
            .last_backup
            .as_ref()
            .map(|one| Backup { at: Timestamp::from_millis(one.at_ms), is_sealed: one.sealed }),
        nodes: nodes(app, &world),
        secrets_without_value,
        secrets_under_older_key,
        secrets: world.secrets.len(),
        key_file: key_file(app),
        notifiers: notifiers(app, &world),
        has_heartbeat: app.config.heartbeat_url.is_some(),
        admins: admins(&world),
        credentials: credentials(&world),
        audit: audit_log(app, now),
        checks_nowhere: checks_nowhere(app, &world),
        plugins_waiting: waiting
            .map(|pushed| &pushed.artifact.manifest)
            .map(|manifest| (manifest.name.to_string(), manifest.version.clone()))
            .collect(),
        approvers: app.config.second_approval.above.map(|_| approvers(&world)),
    }
}

fn nodes(app: &App, world: &World) -> Vec<Node> {
    let there = world.members.values().filter(|member| member.revoked.is_none());
    let node = |member: &Arc<crate::records::Member>| {
        let (seen, live) = (app.fleet.seen(&member.id), app.fleet.live(&member.id));
        let lost = seen.filter(|seen| seen.state == NodeState::Lost);
        Node {
            name: member.name.to_string(),
            is_connected: live.is_some(),
            lost_since: lost.map(|seen| seen.since),
            version: live.as_ref().map_or_else(|| member.agent_version.clone(), |live| live.agent_version.clone()),
            skew_ms: live.and_then(|live| live.clock_skew_ms),
            certificate_ends: member.certificate_not_after,
        }
    };
    let mut nodes: Vec<Node> = there.map(node).collect();
    nodes.sort_by(|left, right| left.name.cmp(&right.name));
    nodes
}

/// Those without a value, and those that an interrupted change of the key left.
fn secrets(app: &App, world: &World) -> (Vec<String>, Vec<String>) {
    let declared = world.specs.applied.of_kind(Kind::Secret).map(|one| &one.object.name);
    let without = declared.filter(|name| world.secrets.get(*name).is_none_or(|record| record.versions.is_empty()));
    let older = world.secrets.iter().filter(|(_, record)| !app.vault.is_newest(record));
    (without.map(ToString::to_string).collect(), older.map(|(name, _)| name.to_string()).collect())
}

fn key_file(app: &App) -> Option<KeyFile> {
    let path = app.config.data_dir.join(KEY_FILE);
    let meta = std::fs::metadata(&path).ok()?;
    let own = rustix::process::geteuid().as_raw();
    Some(KeyFile {
        path: path.display().to_string(),
        mode: meta.mode(),
        other_owner: Some(meta.uid()).filter(|owner| *owner != own),
    })
}

fn notifiers(app: &App, world: &World) -> Vec<Notifier> {
    let mut failing: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for waiting in app.notices.board().outbox.iter().filter(|waiting| waiting.attempts > 0) {
        let of = failing.entry(waiting.notifier.to_string()).or_default();
        *of = (of.0 + 1, waiting.last_error.clone());
    }
    let applied = world.specs.applied.of_kind(Kind::Notifier);
    let notifier = |one: &hostler_core::applied::Owned| {
        let Body::Notifier(spec) = &one.object.body else { return None };
        let name = one.object.name.to_string();
        Some(Notifier {
            failing: failing.get(&name).cloned(),
            is_default: spec.default,
            was_taken: world.notifiers_taken.contains_key(&one.object.name),
            name,
        })
    };
    applied.filter_map(notifier).collect()
}

/// Those whose certificate or token counts.
fn admins(world: &World) -> Vec<String> {
    let everything = |caller: &Caller| {
        let operator = world.operators.get(caller.name());
        operator.is_some_and(|one| {
            let grant = grant_of(one);
            grant.systems.is_empty() && grant.roles.iter().any(|role| role == ADMIN)
        })
    };
    approvals::operators(world).into_iter().filter(everything).map(|caller| caller.name().to_owned()).collect()
}

/// Whoever may apply anything may agree to most of what waits.
fn approvers(world: &World) -> Vec<String> {
    let ask = Ask::new(Verb::Change, Noun::Spec(Kind::Check));
    let callers = approvals::operators(world).into_iter().filter(|caller| may(world, caller, &ask));
    callers.map(|caller| caller.name().to_owned()).collect()
}

fn credentials(world: &World) -> Vec<Credential> {
    let standing = || world.operators.values().filter(|one| one.revoked_at_ms == 0);
    let at = Timestamp::from_millis;
    let certificates = standing().filter(|one| one.not_after_ms != 0).map(|one| Credential {
        operator: one.name.clone(),
        token: String::new(),
        made_at: at(one.created_at_ms),
        ends_at: at(one.not_after_ms),
    });
    let names: BTreeSet<&str> = standing().map(|one| one.name.as_str()).collect();
    let tokens = world.operator_tokens.iter().filter(|(_, token)| names.contains(token.operator.as_str()));
    let tokens = tokens.map(|(id, token)| Credential {
        operator: token.operator.clone(),
        token: id.clone(),
        made_at: at(token.created_at_ms),
        ends_at: at(token.expires_at_ms),
    });
    certificates.chain(tokens).collect()
}

fn audit_log(app: &App, now: Timestamp) -> Audit {
    let (files, _): (audit::Files, _) = app.audit.files();
    let wished_days = app.config.audit_days;
    let since = now.minus(Duration::from_secs(u64::from(wished_days) * 86_400)).plus(AUDIT_SLACK);
    // What begins with its first record never was longer.
    let oldest = files.segments.first().filter(|segment| segment.first > 1 && segment.first_at > since);
    Audit {
        failing: app.audit.failing().map(|why| why.to_string()),
        wished_days,
        begins_at: oldest.map(|segment| segment.first_at),
    }
}

fn checks_nowhere(app: &App, world: &World) -> Vec<String> {
    let mut checks: BTreeSet<String> = world.specs.applied.checks().map(|(name, _)| name.to_string()).collect();
    for node in world.members.keys() {
        let Some((desired, _)) = app.desired_state(world, node) else { continue };
        for check in &desired.checks {
            checks.remove(check.name.as_str());
        }
    }
    checks.into_iter().collect()
}
