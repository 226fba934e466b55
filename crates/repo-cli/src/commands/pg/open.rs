//! `repo pg open`: starts a server on a snapshot, without restoring it.
//!
//! The snapshot is mounted, writable overlays lie above it, and a server starts on them. All of it
//! ends with this program: what was written is thrown away.

use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use clap::Args;
use repo_core::{Repository, SnapshotView};
use repo_mount::{Ended, Mount, MountOptions, Overlay};
use repo_postgres::{Description, Layers, OpenServer, Programs, ServerOptions, layers};
use tempfile::TempDir;

use super::guard::Guard;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::OpenedMessage;
use crate::select::{self, Filter};
use crate::show::{self, Stopwatch};

/// How often the server, the command and signals are looked at.
const WATCH: Duration = Duration::from_millis(50);
const WORK: &str = "--work names a directory on ext4, XFS, btrfs or tmpfs, not on another overlay";
/// Others enter the place of a server, and cannot list it.
const PLACE_MODE: u32 = 0o711;

/// Arguments of `pg open`.
#[derive(Debug, Args)]
pub(crate) struct OpenArgs {
    /// Start a server on SNAPSHOT, an id or `latest`.
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// Run COMMAND once the server answers, with PGHOST, PGPORT, PGUSER and PGDATABASE set, and end
    /// with it; a command that fails is a failure.
    #[arg(value_name = "COMMAND", last = true)]
    command: Vec<OsString>,
    /// Listen on PORT; a free one by default.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Use the programs of Postgres in DIR.
    #[arg(long, value_name = "DIR")]
    bindir: Option<PathBuf>,
    /// Keep what the server writes below DIR while it runs; the system's directory for temporary
    /// files by default.
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Set NAME to VALUE, whatever the cluster's settings say. May be repeated.
    #[arg(long = "setting", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Connect as USER, in the connection line and in COMMAND.
    #[arg(long, value_name = "USER", default_value = "postgres")]
    user: String,
    #[command(flatten)]
    filter: Filter,
    /// Look at the state after commit N, see `repo log`.
    #[arg(long, value_name = "N")]
    at: Option<u64>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

pub(crate) async fn run(context: &Context, args: OpenArgs) -> Result<Exit, Failure> {
    if !rustix::process::geteuid().is_root() {
        let failure = Failure::failed("only root may mount the overlay that the server writes to");
        return Err(failure.hint("`repo pg restore` needs no mount"));
    }
    let clock = Stopwatch::start();
    let repository = context.open_at(args.at).await?;
    let view = select::view(&repository, &args.snapshot, &args.filter)?;
    let description = Description::of(&view).await.map_err(super::failure)?;
    let programs = programs(context, &args, &description)?;
    // From here on a signal is a wish to end the server.
    context.cancel.end_by_asking();

    let mut open = Open::new(&args)?;
    let done = async {
        open.lay(&repository, &view, &description).await?;
        open.start(&programs, &args)?;
        open.until_ready(context).await?;
        open.serve(context, &args, &view, clock).await
    };
    let done = done.await;
    let ended = open.end().await;
    // Why it ended matters more than what went wrong at the end.
    let exit = done?;
    if ended? == Ended::Detached {
        context.warn("the place of the server is in use; it goes with its last user");
    }
    Ok(exit)
}

fn programs(
    context: &Context,
    args: &OpenArgs,
    description: &Description,
) -> Result<Programs, Failure> {
    let directories: Vec<PathBuf> = match (&args.bindir, context.environment.get("PATH")) {
        (Some(directory), _) => vec![directory.clone()],
        (None, Some(path)) => std::env::split_paths(path).collect(),
        (None, None) => Vec::new(),
    };
    Programs::find(description.version, &directories).map_err(super::failure)
}

/// What is open, each above what it needs.
struct Open {
    server: Option<OpenServer>,
    overlays: Vec<Overlay>,
    layers: Option<Layers>,
    mount: Option<Mount>,
    place: TempDir,
    guard: Guard,
}

impl Open {
    fn new(args: &OpenArgs) -> Result<Self, Failure> {
        let mut place = tempfile::Builder::new();
        place
            .prefix("repo-pg-")
            .permissions(Permissions::from_mode(PLACE_MODE));
        let place = match &args.work {
            Some(directory) => place.tempdir_in(directory),
            None => place.tempdir(),
        };
        let place = place.map_err(|error| Failure::because("cannot make a directory", &error))?;
        let guard = Guard::start(place.path())
            .map_err(|error| Failure::because("cannot start a shell", &error))?;
        Ok(Self {
            server: None,
            overlays: Vec::new(),
            layers: None,
            mount: None,
            place,
            guard,
        })
    }

    /// Mounts the snapshot and the overlays above it.
    async fn lay(
        &mut self,
        repository: &Repository,
        view: &SnapshotView,
        description: &Description,
    ) -> Result<(), Failure> {
        let snapshot = self.place.path().join("snapshot");
        std::fs::create_dir(&snapshot)
            .map_err(|error| Failure::because("cannot make a directory", &error))?;
        // An overlay asks for what lies below it as the user who asks the overlay.
        let options = MountOptions {
            allow_other: true,
            snapshot: Some(view.id()),
            ..MountOptions::default()
        };
        self.mount = Some(Mount::start(repository, &snapshot, options).await?);
        let (place, description) = (self.place.path().to_owned(), description.clone());
        // These look at the mount, which may wait for the repository.
        let laid = tokio::task::spawn_blocking(move || {
            let layers = layers(&description, &snapshot, &place).map_err(super::failure)?;
            let mut overlays = Vec::new();
            for layer in layers.all() {
                let overlay =
                    Overlay::mount(&layer.lower, &layer.changes, &layer.work, &layer.target);
                overlays.push(overlay.map_err(|error| Failure::from(error).hint(WORK))?);
            }
            Ok::<_, Failure>((layers, overlays))
        });
        let laid = laid.await;
        let (layers, overlays) = laid.map_err(|_| Failure::failed("internal error: overlay"))??;
        (self.layers, self.overlays) = (Some(layers), overlays);
        Ok(())
    }

    fn start(&mut self, programs: &Programs, args: &OpenArgs) -> Result<(), Failure> {
        let Some(layers) = &self.layers else {
            return Err(Failure::failed("internal error: no layers"));
        };
        let options = ServerOptions {
            place: self.place.path().to_owned(),
            port: args.port,
            settings: args.settings.clone(),
        };
        let server = OpenServer::start(programs, &options, layers).map_err(super::failure)?;
        self.guard.server(server.pid());
        self.server = Some(server);
        Ok(())
    }

    fn server(&mut self) -> Result<&mut OpenServer, Failure> {
        let none = || Failure::failed("internal error: no server");
        self.server.as_mut().ok_or_else(none)
    }

    async fn until_ready(&mut self, context: &Context) -> Result<(), Failure> {
        while !self.server()?.is_ready().map_err(super::failure)? {
            if context.cancel.asked() {
                return Err(Failure::cancelled());
            }
            tokio::time::sleep(WATCH).await;
        }
        Ok(())
    }

    /// Serves until the command has ended or this program is told to end.
    async fn serve(
        &mut self,
        context: &Context,
        args: &OpenArgs,
        view: &SnapshotView,
        clock: Stopwatch,
    ) -> Result<Exit, Failure> {
        let server = self.server()?;
        let mut command = match args.command.split_first() {
            Some((program, words)) => {
                let mut command = Command::new(program);
                command.args(words).env("PGHOST", server.socket());
                command.env("PGPORT", server.port().to_string());
                command
                    .env("PGUSER", &args.user)
                    .env("PGDATABASE", "postgres");
                Some(Running::start(&mut command)?)
            }
            None => {
                context.output.show(&OpenedMessage {
                    id: view.id().to_hex(),
                    host: show::local_path(server.socket()),
                    port: server.port(),
                    user: &args.user,
                    pid: server.pid(),
                    duration_ms: clock.elapsed_ms(),
                })?;
                context.output.flush()?;
                None
            }
        };
        loop {
            if let Some(status) = command.as_mut().and_then(Running::ended) {
                return match status.success() {
                    true => Ok(Exit::Ok),
                    false => Err(Failure::failed(format!("the command failed: {status}"))),
                };
            }
            if context.cancel.asked() {
                return match command {
                    Some(_) => Err(Failure::cancelled()),
                    None => Ok(Exit::Ok),
                };
            }
            self.server()?.is_ready().map_err(super::failure)?;
            tokio::time::sleep(WATCH).await;
        }
    }

    /// Ends all of it and leaves nothing behind.
    async fn end(self) -> Result<Ended, Failure> {
        let Self {
            place,
            guard,
            mount,
            overlays,
            server,
            ..
        } = self;
        if let Some(server) = server {
            server.stop().await.map_err(super::failure)?;
        }
        let ended = tokio::task::spawn_blocking(move || {
            let mut all = Ended::Unmounted;
            for overlay in overlays.into_iter().rev() {
                if overlay.end()? == Ended::Detached {
                    all = Ended::Detached;
                }
            }
            match mount {
                // What is detached still reads the snapshot, and the mount goes with this program.
                Some(mount) if all == Ended::Unmounted => all = mount.end()?,
                Some(mount) => drop(mount),
                None => {}
            }
            place
                .close()
                .map_err(|error| Failure::because("cannot delete what the server wrote", &error))?;
            guard.stop();
            Ok(all)
        });
        ended
            .await
            .map_err(|_| Failure::failed("internal error: unmount"))?
    }
}

/// The command that was given; killed when this ends before it.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Result<Self, Failure> {
        let child = command.spawn().map(Self);
        child.map_err(|error| {
            let program = show::local_path(command.get_program().as_ref());
            Failure::because(format!("cannot run {program}"), &error)
        })
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended cannot be ended again.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
