//! Carries out what was judged to be allowed.

use crate::account::{self, Account};
use crate::engine::Engine;
use crate::files::{self, Place};
use crate::parent::Parent;
use crate::protocol::{Act, Done, Environment, FileFound, LookAt, Outcome, Process, Stands, print_of};
use crate::rotate::{self, Due, Rotated};
use crate::systemd::{Systemd, environment};
use crate::take::Take;
use crate::{firewall, packages, program};
use crate::{units, usage};
use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

const UNIT_FOLDER: &str = "/etc/systemd/system";
const CHECK_MAX: Duration = Duration::from_secs(60);
const TAIL_MAX: Duration = Duration::from_secs(20);

/// What tells whether a file is right, and as whom.
struct Check {
    command: Vec<String>,
    user: Option<Account>,
}

pub enum Services {
    Systemd(Systemd),
    Parent(Parent),
}

pub struct Hand {
    pub services: Services,
    pub engine: Engine,
    pub net: Option<RawFd>,
    /// Whom a process runs as for which no user is said.
    pub user: Option<String>,
}

impl Hand {
    pub async fn carry_out(&self, act: Act) -> Outcome {
        match self.done(act).await {
            Ok(done) => Outcome::Done(done),
            Err(words) => Outcome::Failed { words },
        }
    }

    async fn done(&self, act: Act) -> Result<Done, String> {
        match act {
            Act::StartProcess { unit, process } => self.start_process(&unit, &process).await,
            Act::Start { unit } => self.job("StartUnit", &unit).await,
            Act::Stop { unit } => match &self.services {
                Services::Systemd(systemd) => systemd.job("StopUnit", &unit).await,
                Services::Parent(parent) => parent.stop(&unit).await,
            },
            Act::Restart { unit } => self.job("RestartUnit", &unit).await,
            Act::Reload { unit } => self.job("ReloadUnit", &unit).await,
            Act::ResetFailed { unit } => match &self.services {
                Services::Systemd(systemd) => systemd.reset_failed(&unit).await,
                Services::Parent(parent) => parent.reset_failed(&unit).await,
            },
            Act::Kill { unit, signal } => {
                let signal = crate::signals::find(&signal).ok_or_else(|| format!("no signal {signal}"))?;
                match &self.services {
                    Services::Systemd(systemd) => systemd.kill(&unit, signal.as_raw()).await,
                    Services::Parent(parent) => parent.kill(&unit, signal),
                }
            }
            Act::WriteUnit { unit, text, enable, env } => self.write_unit(&unit, &text, enable, &env).await,
            Act::RemoveUnit { unit } => self.remove_unit(&unit).await,
            Act::DropIn { unit, name, text } => self.drop_in(&unit, &name, text.as_deref()).await,
            Act::PutFile { path, content_base64, owner, mode, validate, user } => {
                let owner = numbers(owner.as_deref())?;
                let user = user.map(|name| account::find(&name)).transpose()?;
                let check = validate.map(|command| Check { command, user });
                let print = print_of(&content_base64.0);
                let done = self.put(path.clone(), content_base64.0, owner, mode, check).await?;
                let files = vec![as_put(path, print, owner, mode).await?];
                Ok(Done { files, ..done })
            }
            Act::LookAtFiles { files } => {
                let now_ms = crate::clock::wall_ms();
                let files = blocking(move || Ok(files.iter().map(|one| files::look_at(one, now_ms)).collect())).await?;
                Ok(Done { files, ..Done::default() })
            }
            Act::MakeFolder { path, owner, mode } => {
                changed(files::make_folder(&path, numbers(owner.as_deref())?, mode)?)
            }
            Act::MakeUser { name, home, groups } => self.make_user(&name, home.as_deref(), &groups).await,
            Act::InstallPackages { names } => packages::install(self.net, &names).await,
            Act::UpgradePackages { security_only, output } => {
                let reader = self.user.as_ref().map(|name| account::find(name)).transpose()?;
                let owner = reader.map(|account| (0, account.gid));
                packages::upgrade(self.net, security_only, &Place::of(&output)?, owner).await
            }
            Act::TryFirewall { rules, revert_ms } => {
                firewall::load(self.net, rules.0, Duration::from_millis(revert_ms)).await
            }
            Act::KeepFirewall => firewall::keep().await,
            Act::Reboot => match &self.services {
                Services::Systemd(systemd) => systemd.reboot().await,
                Services::Parent(_) => Err("systemd does not run on this host, and nobody else reboots it".into()),
            },
            Act::RemoveOutput { path } => changed(blocking(move || Place::of(&path)?.remove_all()).await?),
            Act::TakeFile { path, user, bytes_max, copy, .. } => self.take_file(path, user, bytes_max, &copy).await,
            Act::Tail { unit, lines } => self.tail(&unit, lines).await,
            Act::RotateOutput { path, keep, compress, over_bytes, older_s } => {
                let due = Due { over_bytes, older: older_s.map(Duration::from_secs) };
                let rotated = blocking(move || rotate::rotate_all(&path, due, keep, compress)).await?;
                let text = rotated.iter().map(Rotated::to_string).collect::<Vec<_>>().join(", ");
                Ok(Done { changed: !rotated.is_empty(), text: Some(text), ..Done::default() })
            }
            Act::Inspect { unit } => {
                let found = match &self.services {
                    Services::Systemd(systemd) => systemd.inspect(&unit).await?,
                    Services::Parent(parent) => parent.inspect(&unit),
                };
                let (pid, ended) = found.as_ref().map_or((None, None), |found| (found.pid, found.ended.clone()));
                Ok(Done { pid, ended, units: found.into_iter().collect(), ..Done::default() })
            }
            Act::Open { pids } => {
                let open = blocking(move || Ok(usage::open(&pids))).await?;
                Ok(Done { open, ..Done::default() })
            }
            Act::Listener { port } => {
                let found = blocking(move || Ok(usage::listener(port))).await?;
                let text = found.map(|(name, pid)| format!("{name} (pid {pid})"));
                Ok(Done { text, ..Done::default() })
            }
            // Answered by whoever has the policy.
            Act::Policy | Act::LetPlugin { .. } => Ok(Done::default()),
            Act::StartContainer { name, container } => self.engine.start(&name, &container).await,
            Act::StopContainer { name, signal, grace_ms } => {
                self.engine.stop(&name, &signal, Duration::from_millis(grace_ms)).await
            }
            Act::KillContainer { name, signal } => self.engine.kill(&name, &signal).await,
            Act::InspectContainer { name } => self.engine.inspect(&name).await,
            Act::ContainerTail { name, lines } => self.engine.tail(&name, lines).await,
            Act::PullImage { image } => self.engine.pull(&image).await,
            Act::List => {
                let units = match &self.services {
                    Services::Systemd(systemd) => systemd.list().await?,
                    Services::Parent(parent) => parent.list(),
                };
                Ok(Done { units, ..Done::default() })
            }
        }
    }

    async fn start_process(&self, unit: &str, process: &Process) -> Result<Done, String> {
        let name = process.user.as_ref().or(self.user.as_ref());
        // Not root by another name: the judge knows those that were there before.
        let account: Option<Account> = name.map(|name| account::find(name)).transpose()?;
        // The service's own, since programs open their output again by name; and the
        // agent's to read.
        let reader = self.user.as_ref().map(|name| account::find(name)).transpose()?;
        let owner = account.as_ref().map(|account| (account.uid, reader.as_ref().unwrap_or(account).gid));
        let output = Place::of(&process.output)?.append(owner)?;
        match &self.services {
            Services::Systemd(systemd) => {
                let user = account.as_ref().map_or("root", |account| account.name.as_str());
                systemd.start_process(unit, process, user, &output).await
            }
            Services::Parent(parent) => parent.start_process(unit, process, account.as_ref(), &output).await,
        }
    }

    async fn take_file(
        &self,
        path: PathBuf,
        user: Option<String>,
        bytes_max: u64,
        copy: &Path,
    ) -> Result<Done, String> {
        let reader = self.user.as_ref().map(|name| account::find(name)).transpose()?;
        let account = user.map(|name| account::find(&name)).transpose()?.or_else(|| reader.clone());
        let take = Take::of(path, account.as_ref(), bytes_max);
        take.copy(&Place::of(copy)?, reader.map(|account| account.gid)).await?;
        changed(true)
    }

    fn systemd(&self) -> Result<&Systemd, String> {
        match &self.services {
            Services::Systemd(systemd) => Ok(systemd),
            Services::Parent(_) => {
                Err("systemd does not run on this host, so there are no units: use a process".into())
            }
        }
    }

    async fn job(&self, verb: &str, unit: &str) -> Result<Done, String> {
        self.systemd()?.job(verb, unit).await
    }

    async fn write_unit(&self, unit: &str, text: &str, enable: bool, env: &Environment) -> Result<Done, String> {
        let systemd = self.systemd()?;
        let place = Place::of(&Path::new(UNIT_FOLDER).join(unit))?;
        units::ours_or_new(&place, unit)?;
        let text = units::marked(text);
        let new = place.put(text.as_bytes(), Some((0, 0)), Some(0o644), |_| Ok(()))?;
        if new | environment::keep(unit, &env.0)? {
            systemd.reload().await?;
        }
        systemd.enable(unit, enable).await?;
        changed(new)
    }

    async fn remove_unit(&self, unit: &str) -> Result<Done, String> {
        let systemd = self.systemd()?;
        let place = Place::of(&Path::new(UNIT_FOLDER).join(unit))?;
        if place.read(1)?.is_none() {
            return Ok(Done { already: true, ..Done::default() });
        }
        units::ours_or_new(&place, unit)?;
        systemd.enable(unit, false).await?;
        place.remove(place.name())?;
        environment::keep(unit, &BTreeMap::new())?;
        systemd.reload().await?;
        changed(true)
    }

    async fn drop_in(&self, unit: &str, name: &str, text: Option<&str>) -> Result<Done, String> {
        let systemd = self.systemd()?;
        let folder = Path::new(UNIT_FOLDER).join(format!("{unit}.d"));
        let path = folder.join(format!("{name}.conf"));
        let new = match text {
            Some(text) => {
                files::make_folder(&folder, None, None)?;
                Place::of(&path)?.put(text.as_bytes(), Some((0, 0)), Some(0o644), |_| Ok(()))?
            }
            None if !folder.exists() => false,
            None => {
                let place = Place::of(&path)?;
                let removed = place.remove(place.name())?;
                // Only if it is empty.
                let _ = std::fs::remove_dir(&folder);
                removed
            }
        };
        if new {
            systemd.reload().await?;
        }
        changed(new)
    }

    async fn put(
        &self,
        path: PathBuf,
        content: Vec<u8>,
        owner: Option<(u32, u32)>,
        mode: Option<u32>,
        check: Option<Check>,
    ) -> Result<Done, String> {
        let Some(Check { command, user }) = check else {
            return changed(blocking(move || Place::of(&path)?.put(&content, owner, mode, |_| Ok(()))).await?);
        };
        let (net, runtime) = (self.net, tokio::runtime::Handle::current());
        let done = blocking(move || {
            Place::of(&path)?.put(&content, owner, mode, |new| {
                let new = new.to_string_lossy();
                let argv: Vec<String> = command.iter().map(|word| word.replace("${file}", &new)).collect();
                let ran = runtime.block_on(program::run_check(net, user.as_ref(), &argv, CHECK_MAX));
                let ran = ran.map_err(|words| format!("the new {} was not checked: {words}", path.display()))?;
                if ran.well {
                    return Ok(());
                }
                let program = crate::launch::program(&argv).display();
                Err(format!(
                    "{program} finds fault with the new {}, so it is not put in place\n{}",
                    path.display(),
                    ran.words().replace(&*new, &path.to_string_lossy())
                ))
            })
        });
        changed(done.await?)
    }

    /// Answered with what was done.
    async fn make_user(&self, name: &str, home: Option<&Path>, groups: &[String]) -> Result<Done, String> {
        // Before anything is done: a group that is not there is somebody else's to make.
        let numbers: Vec<u32> = groups.iter().map(|group| account::group(group)).collect::<Result<_, _>>()?;
        let mut said = Vec::new();
        if account::find(name).is_err() {
            self.add_user(name, home).await?;
            said.push(format!("made the user {name}"));
        }
        let account = account::find(name)?;
        let lacks = groups.iter().zip(numbers).filter(|(_, number)| !account.groups.contains(number));
        let lacks: Vec<&str> = lacks.map(|(group, _)| group.as_str()).collect();
        if !lacks.is_empty() {
            let lacks = lacks.join(",");
            let argv = ["/usr/sbin/usermod", "--append", "--groups", &lacks, "--", name].map(String::from);
            self.well(&argv, CHECK_MAX).await?;
            said.push(format!("put {name} into {lacks}"));
        }
        let changed = !said.is_empty();
        let text = changed.then(|| said.join(", "));
        Ok(Done { changed, already: !changed, text, ..Done::default() })
    }

    async fn add_user(&self, name: &str, home: Option<&Path>) -> Result<(), String> {
        let home = home.map_or("/nonexistent".into(), |home| home.to_string_lossy().into_owned());
        let words = ["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", "--home-dir"];
        let mut argv = vec!["/usr/sbin/useradd".to_owned()];
        argv.extend(words.map(String::from));
        argv.extend([home, "--".into(), name.to_owned()]);
        self.well(&argv, CHECK_MAX).await.map(drop)
    }

    async fn well(&self, argv: &[String], longest: Duration) -> Result<String, String> {
        let ran = program::run_free(self.net, argv, longest).await?;
        if ran.well {
            return Ok(ran.words().to_owned());
        }
        Err(format!("{}: {}", crate::launch::program(argv).display(), ran.words()))
    }

    async fn tail(&self, unit: &str, lines: u32) -> Result<Done, String> {
        self.systemd()?;
        let lines = lines.to_string();
        let words = ["/usr/bin/journalctl", "--no-pager", "-q", "-u", unit, "-n", &lines, "-o", "cat"];
        let ran = program::run(None, &words.map(String::from), TAIL_MAX).await?;
        if !ran.well {
            return Err(format!("journalctl: {}", ran.words()));
        }
        Ok(Done { text: Some(ran.output), ..Done::default() })
    }
}

fn changed(changed: bool) -> Result<Done, String> {
    Ok(Done { changed, already: !changed, ..Done::default() })
}

/// How it stands now by our hand: what others may have done to it since is not in it.
async fn as_put(path: PathBuf, print: u64, owner: Option<(u32, u32)>, mode: Option<u32>) -> Result<FileFound, String> {
    let look = LookAt { path, mark: None };
    let found = blocking(move || Ok(files::look_at(&look, 0))).await?;
    let (uid, gid, mode) = match (owner, mode, found) {
        (Some((uid, gid)), Some(mode), _) => (uid, gid, mode),
        (owner, mode, FileFound::There(found)) => {
            let (uid, gid) = owner.unwrap_or((found.uid, found.gid));
            (uid, gid, mode.unwrap_or(found.mode))
        }
        // It is gone again, and nobody knows how it stood.
        _ => return Ok(FileFound::Unknown),
    };
    Ok(FileFound::There(Stands { mark: None, print, mode, uid, gid, changed_ms: 0 }))
}

fn numbers(owner: Option<&str>) -> Result<Option<(u32, u32)>, String> {
    owner.map(|name| account::find(name).map(|account| (account.uid, account.gid))).transpose()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(format!("it broke off: {error}")))
}
