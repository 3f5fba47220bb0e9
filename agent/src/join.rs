//! `hostler-agent join CODE`: the host makes its own key and trades a join code
//! for a certificate.

use crate::config::{self, Config, Settings};
use crate::connect::{CALL_TIMEOUT, enrollment, status_text};
use crate::identity::{Identity, KeyRequest};
use crate::logging::whole;
use crate::{VERSION, host};
use anyhow::{Context, Result, bail};
use hostler_proto::agent::{JoinRequest, JoinResponse};
use hostler_proto::transport::{self, Trust, key_pin};
use hostler_types::join_code::JoinCode;
use hostler_types::{Name, NodeId, Policy};
use rustls::pki_types::CertificateDer;
use std::path::{Path, PathBuf};
use tonic::Code;

#[derive(clap::Args, Debug)]
pub struct Join {
    /// What `hostlerctl token create` printed
    code: String,
    /// This node's name [default: the host's name up to its first dot]
    #[arg(long)]
    name: Option<String>,
    /// What the control plane may do here: watch, operate or full [default: operate]
    #[arg(long)]
    policy: Option<Policy>,
    /// The configuration file, written if need be [default: /etc/hostler/agent.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where identity and state are kept [default: /var/lib/hostler-agent]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where the local socket is [default: /run/hostler-agent]
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
    /// Give up the identity this host has, and take a new one
    #[arg(long)]
    again: bool,
}

impl Join {
    pub fn run(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.join())
    }

    async fn join(self) -> Result<()> {
        let code = JoinCode::decode(&self.code)?;
        let file = self.config.clone().unwrap_or_else(|| config::FILE_DEFAULT.into());
        let file = std::path::absolute(&file).with_context(|| format!("find {}", file.display()))?;
        let (config, told) = self.settings(&file)?;
        let name = name(self.name.as_deref())?;
        if Identity::exists(&config.state_dir) && !self.again {
            bail!(
                "this host has joined already, as {}: to leave, run `hostler-agent uninstall`; \
                 to take a new identity in its place, add --again",
                Identity::load(&config.state_dir)
                    .map_or("a node that cannot be read".into(), |one| one.name.to_string())
            );
        }
        // What cannot be written later is found out before the code is used up.
        crate::files::private_folder(&config.state_dir)
            .with_context(|| format!("make the state folder {}", config.state_dir.display()))?;
        config::write(&file, &told)?;

        let request = KeyRequest::make()?;
        let ask = JoinRequest {
            secret: code.secret.to_vec(),
            name: name.to_string(),
            csr_der: request.csr_der.clone(),
            agent_version: VERSION.to_owned(),
            policy: config.policy.word().to_owned(),
            machine_id: host::machine_id(),
        };
        let (address, answer) = redeem(&code, ask).await?;
        let identity = accept(&code, &request, name, answer)?;
        if self.again {
            crate::app::forget_node(&config.state_dir)?;
        }
        identity.save(&config.state_dir)?;
        println!("joined {address} as {} ({}), policy {}", identity.name, identity.node, config.policy);
        println!("state in {}, settings in {}", config.state_dir.display(), file.display());
        Ok(())
    }

    /// The file's settings with the flags over them, and the lines to write.
    fn settings(&self, file: &Path) -> Result<(Config, Vec<(&'static str, String)>)> {
        let mut settings = Settings::load(Some(file), false)?;
        let mut told = Vec::new();
        let absolute = |path: &Path| std::path::absolute(path).with_context(|| format!("find {}", path.display()));
        if let Some(path) = &self.state_dir {
            let path = absolute(path)?;
            told.push(("state_dir", path.display().to_string()));
            settings.state_dir = Some(path);
        }
        if let Some(path) = &self.runtime_dir {
            let path = absolute(path)?;
            told.push(("runtime_dir", path.display().to_string()));
            settings.runtime_dir = Some(path);
        }
        settings.policy = self.policy.or(settings.policy);
        let config = Config::settle(settings)?;
        told.push(("policy", config.policy.word().to_owned()));
        Ok((config, told))
    }
}

/// Tries each address of the code; what the control plane itself refuses is
/// refused at all of them.
async fn redeem(code: &JoinCode, ask: JoinRequest) -> Result<(String, JoinResponse)> {
    let mut failures = Vec::new();
    for address in &code.addresses {
        let channel = match transport::connect(address, &Trust::Pin(code.authority_pin), None).await {
            Ok(channel) => channel,
            Err(error) => {
                failures.push(whole(&error));
                continue;
            }
        };
        match tokio::time::timeout(CALL_TIMEOUT, enrollment(channel).join(ask.clone())).await {
            Ok(Ok(answer)) => return Ok((address.clone(), answer.into_inner())),
            Ok(Err(status)) if status.code() == Code::Unavailable => {
                failures.push(format!("{address}: {}", status_text(&status)));
            }
            Ok(Err(status)) => bail!("{address} refuses: {}", status_text(&status)),
            Err(_) => failures.push(format!("{address} took the join code and did not answer in time")),
        }
    }
    bail!("no control plane could be joined:\n  {}", failures.join("\n  "))
}

fn accept(code: &JoinCode, request: &KeyRequest, name: Name, answer: JoinResponse) -> Result<Identity> {
    let node = NodeId::parse(&answer.node_id).context("read the node id that the control plane gave")?;
    let credentials = answer.credentials.unwrap_or_default();
    let pinned = credentials
        .authorities_der
        .iter()
        .any(|der| key_pin(&CertificateDer::from(der.as_slice())) == Some(code.authority_pin));
    if !pinned {
        bail!("the control plane gave other authorities than the join code names: nothing was kept");
    }
    let addresses = if answer.addresses.is_empty() { code.addresses.clone() } else { answer.addresses };
    Ok(Identity::new(node, name, addresses, request, &credentials)?)
}

fn name(given: Option<&str>) -> Result<Name> {
    if let Some(name) = given {
        return Name::new(name).context("use --name");
    }
    let host = host::hostname();
    let short = host.split('.').next().unwrap_or_default().to_ascii_lowercase();
    Name::new(short).with_context(|| format!("name the node after its host {host:?} (choose another with --name)"))
}
