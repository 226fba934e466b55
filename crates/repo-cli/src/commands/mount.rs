//! `repo mount`: shows snapshots as a read-only file system until it is unmounted.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use repo_mount::{Ended, Mount, MountOptions};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::MountMessage;
use crate::select::{self, Filter};
use crate::show;

/// How often the end of the mount is looked for.
const WATCH: Duration = Duration::from_millis(100);

/// Arguments of `mount`.
#[derive(Debug, Args)]
pub(crate) struct MountArgs {
    /// Mount on this directory.
    #[arg(value_name = "TARGET")]
    target: PathBuf,
    /// Show SNAPSHOT only, an id or `latest`, at the root of the mount.
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
    /// Let other users in, as far as the rights recorded in the snapshots allow. Users other than
    /// root need `user_allow_other` in /etc/fuse.conf.
    #[arg(long)]
    allow_other: bool,
    #[command(flatten)]
    filter: Filter,
    /// Look at the state after commit N, see `repo log`.
    #[arg(long, value_name = "N")]
    at: Option<u64>,
}

pub(crate) async fn run(context: &Context, args: MountArgs) -> Result<Exit, Failure> {
    let repository = context.open_at(args.at).await?;
    let snapshot = match &args.snapshot {
        Some(name) => Some(select::view(&repository, name, &args.filter)?.id()),
        None => None,
    };
    let filter = args.filter.clone();
    let options = MountOptions {
        allow_other: args.allow_other,
        snapshot,
        filter: Some(Box::new(move |known| filter.matches(known))),
    };
    // From here on a signal is a wish to unmount.
    context.cancel.end_by_asking();
    let mount = Mount::start(&repository, &args.target, options).await?;
    context.output.show(&MountMessage {
        target: show::local_path(mount.target()),
        snapshot: snapshot.map(|id| id.to_hex()),
    })?;
    context.output.flush()?;
    while !context.cancel.asked() && !mount.is_ended() {
        tokio::time::sleep(WATCH).await;
    }
    let ended = tokio::task::spawn_blocking(move || mount.end()).await;
    match ended.map_err(|_| Failure::failed("internal error: mount"))?? {
        Ended::Unmounted => {}
        Ended::Detached => context.warn("the mount was in use; programs that read it now fail"),
    }
    Ok(Exit::Ok)
}

impl From<repo_mount::Error> for Failure {
    fn from(error: repo_mount::Error) -> Self {
        match error {
            repo_mount::Error::Repository(error) => error.into(),
            repo_mount::Error::Mount { source, path }
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                let path = show::local_path(&path);
                Self::because(format!("cannot mount on {path}"), &source)
                    .hint("install the package fuse3, or mount as root")
            }
            error => {
                let cause = std::error::Error::source(&error);
                match cause {
                    Some(cause) => Self::because(error.to_string(), cause),
                    None => Self::failed(error.to_string()),
                }
            }
        }
    }
}
