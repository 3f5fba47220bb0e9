//! Looks at what was put on the host, so that the supervisor knows what others did to
//! it: through the executor, since some of it only root may read.

use super::runtime::{DROP_IN_TEXT, Runtime, unit_text_of};
use hostler_agent_core::supervision::{DROP_IN, Found, Input, Looking, Placed, Stands, Stood, Trouble, unit_path};
use hostler_executor::protocol::{Act, Done, FileFound, LookAt, print_of};
use hostler_types::service::Runs;
use hostler_types::{ServiceAssignment, Timestamp};

/// As units are written.
const UNIT_MODE: u32 = 0o644;

impl Runtime {
    pub async fn look_at_files(&self, looking: Looking) -> Option<Input> {
        let Looking { service, era, files } = looking;
        match self.look_at(files).await {
            Ok(found) => Some(Input::FilesLooked { service, era, found }),
            Err(trouble) => {
                let words = trouble.into_words();
                tracing::debug!(%service, words, "its files can't be looked at");
                None
            }
        }
    }

    pub(super) async fn look_at(&self, files: Vec<(String, Option<u64>)>) -> Result<Vec<Found>, Trouble> {
        let asked = files.iter().map(|(path, mark)| LookAt { path: path.into(), mark: *mark }).collect();
        let done = self.done(Act::LookAtFiles { files: asked }).await?;
        Ok(files.into_iter().zip(done.files).map(|((path, mark), found)| of_look(path, mark, found)).collect())
    }

    /// Before a start: its unit stands as the spec says whatever others did, since that is
    /// what is started.
    pub async fn put_unit_to_start(&self, service: &ServiceAssignment) -> Result<Option<Input>, Trouble> {
        let Runs::Written { program, .. } = &service.runs else { return Ok(None) };
        self.prepare(program).await?;
        let put = Ok(self.put_unit(service).await?);
        Ok(Some(Input::UnitPut { service: service.name.clone(), put }))
    }

    /// Before a look, whatever others did to it: two never start a unit again.
    pub async fn put_drop_in(&self, service: &ServiceAssignment) -> Option<Input> {
        unit_path(service)?;
        let put = self.put_unit(service).await.ok()?;
        Some(Input::UnitPut { service: service.name.clone(), put: Ok(put) })
    }

    /// Writes the file that systemd reads for a service, where the spec says what is in it.
    pub async fn put_unit(&self, service: &ServiceAssignment) -> Result<Placed, Trouble> {
        match &service.runs {
            Runs::Written { name, program } => {
                let process = self.process_of(service, program)?;
                let (act, text) = unit_text_of(name, service, program, process);
                let done = self.done(act).await?;
                Ok(unit_placed(service, &text, &done))
            }
            Runs::Unit { name, .. } => {
                let text = Some(DROP_IN_TEXT.to_owned());
                let done = self.done(Act::DropIn { unit: name.clone(), name: DROP_IN.to_owned(), text }).await?;
                Ok(unit_placed(service, DROP_IN_TEXT, &done))
            }
            Runs::Process(_) | Runs::Container { .. } => Err(Trouble::Failed("it has no unit".to_owned())),
        }
    }
}

pub(super) fn unit_placed(service: &ServiceAssignment, text: &str, done: &Done) -> Placed {
    let print = print_of(text.as_bytes());
    let stood = Stood { print, mode: UNIT_MODE, uid: 0, gid: 0 };
    Placed { path: unit_path(service).unwrap_or_default(), print, changed: done.changed, stood: Some(stood) }
}

pub(super) fn stood_of(found: &FileFound) -> Option<Stood> {
    match found {
        FileFound::There(one) => Some(Stood { print: one.print, mode: one.mode, uid: one.uid, gid: one.gid }),
        FileFound::Unknown | FileFound::Same | FileFound::Gone | FileFound::NoFile => None,
    }
}

fn of_look(path: String, asked: Option<u64>, found: FileFound) -> Found {
    let (mark, stands, changed) = match &found {
        FileFound::Unknown | FileFound::Same => (asked, None, None),
        FileFound::Gone => (None, Some(Stands::Gone), None),
        FileFound::NoFile => (None, Some(Stands::NoFile), None),
        FileFound::There(one) => {
            let changed = Some(Timestamp::from_millis(one.changed_ms));
            (one.mark, stood_of(&found).map(Stands::There), changed)
        }
    };
    Found { path, mark, stands, changed }
}
