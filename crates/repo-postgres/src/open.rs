//! A server on a writable layer above a snapshot, which is thrown away when it ends.
//!
//! The caller shows the snapshot as read-only files and lays what [`layers`] prepared over them, one
//! layer for the data directory and one for each tablespace. [`OpenServer`] starts on the result. The
//! settings of the cluster hold, but for what would reach beyond this server: it listens on this host
//! only, archives nothing, waits for no standby, applies no logical replication and runs no scheduled
//! work. What it writes need not survive, so it does not wait for the disk either.

mod layer;
mod programs;

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal};

use crate::error::{Error, Result};
use crate::limits::{LOG_TAIL, STOP_PAUSE, STOP_PAUSES};
use crate::postmaster;
pub use layer::{Layer, Layers, layers};
pub use programs::Programs;

/// Who may connect: whoever may enter the private directory of the socket, and from this host those
/// who know a password of the cluster.
const ACCESS: &str = "local all all trust\nhost all all 127.0.0.1/32 md5\n";

/// Settings that hold whatever the cluster's own say.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("ssl", "off"),
    ("external_pid_file", ""),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("archive_mode", "off"),
    ("synchronous_standby_names", ""),
    ("max_logical_replication_workers", "0"),
    ("cron.launch_active_jobs", "off"),
    ("autovacuum", "off"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("restart_after_crash", "off"),
    ("huge_pages", "off"),
    ("shared_buffers", "128MB"),
];

/// How to start the server.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// A directory for the socket, the log and the rules of access; the server's user must be able
    /// to enter it.
    pub place: PathBuf,
    /// Port to listen on; a free one by default.
    pub port: Option<u16>,
    /// More settings, which win over all others.
    pub settings: Vec<(String, String)>,
}

/// A running server. Dropped without [`OpenServer::stop`], it is killed.
#[derive(Debug)]
pub struct OpenServer {
    child: Child,
    pgdata: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    port: u16,
}

impl OpenServer {
    /// Starts it on the layers, which are in place, as the owner of the cluster when this process is
    /// the superuser.
    pub fn start(programs: &Programs, options: &ServerOptions, layers: &Layers) -> Result<Self> {
        let (owner, group) = layers.owner();
        if owner == 0 {
            return Err(Error::OwnedByRoot);
        }
        let socket = options.place.join("socket");
        layers.directory(&socket, 0o700)?;
        let access = options.place.join("pg_hba.conf");
        let ident = options.place.join("pg_ident.conf");
        let log = options.place.join("log");
        file(&access, layers)?
            .write_all(ACCESS.as_bytes())
            .map_err(|error| Error::io("write", &access, error))?;
        file(&ident, layers)?;
        let out = file(&log, layers)?;
        let failed = |error| Error::io("write", &log, error);
        let (errors, port) = (out.try_clone().map_err(failed)?, free_port(options.port)?);

        let program = programs.path("postgres");
        let mut command = Command::new(&program);
        command.arg("-D").arg(layers.pgdata());
        let mut set = |name: &str, value: &std::ffi::OsStr| {
            let mut setting = std::ffi::OsString::from(format!("{name}="));
            setting.push(value);
            command.arg("-c").arg(setting);
        };
        for (name, value) in SETTINGS {
            set(name, value.as_ref());
        }
        set("data_directory", layers.pgdata().as_os_str());
        set("hba_file", access.as_os_str());
        set("ident_file", ident.as_os_str());
        set("unix_socket_directories", socket.as_os_str());
        set("port", port.to_string().as_ref());
        for (name, value) in &options.settings {
            set(name, value.as_ref());
        }
        if rustix::process::geteuid().is_root() {
            command.uid(owner).gid(group);
        }
        // Signals of the terminal are for this process, which then ends the server.
        command.process_group(0).current_dir(&options.place);
        command.env_clear().stdin(Stdio::null());
        command.stdout(out).stderr(errors);
        let child = command
            .spawn()
            .map_err(|error| Error::io("start", &program, error))?;
        Ok(Self {
            child,
            pgdata: layers.pgdata().to_owned(),
            socket,
            log,
            port,
        })
    }

    /// Number of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Directory of its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it accepts sessions. Fails with the last word of its log when it has ended.
    pub fn is_ready(&mut self) -> Result<bool> {
        let ended = self.child.try_wait();
        match ended.map_err(|error| Error::io("wait for the server of", &self.pgdata, error))? {
            None => Ok(postmaster::is_ready(&self.pgdata)),
            Some(status) => Err(Error::ServerEnded {
                status,
                last: self.last_word(),
            }),
        }
    }

    /// Stops it at once, as a crash would, and waits until it is gone.
    pub async fn stop(mut self) -> Result<()> {
        let pgdata = self.pgdata.clone();
        let failed = |error| Error::io("stop the server of", &pgdata, error);
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let (Some(pid), None) = (pid, self.child.try_wait().map_err(failed)?) {
            let sent = rustix::process::kill_process(pid, Signal::QUIT);
            sent.map_err(|error| failed(error.into()))?;
        }
        for _ in 0..STOP_PAUSES {
            if self.child.try_wait().map_err(failed)?.is_some() {
                return Ok(());
            }
            tokio::time::sleep(STOP_PAUSE).await;
        }
        // What is left is ended by `drop`.
        Ok(())
    }

    /// The last line of the log that says why a server ended.
    fn last_word(&self) -> String {
        let text = tail(&self.log).unwrap_or_default();
        let says = |line: &&str| line.contains("FATAL:") || line.contains("PANIC:");
        let fatal = text.lines().rev().find(says);
        let line = fatal.or_else(|| text.lines().next_back());
        line.unwrap_or("it said nothing").trim().to_owned()
    }
}

impl Drop for OpenServer {
    fn drop(&mut self) {
        // One that has ended cannot be ended again.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A file that belongs to the server's user.
fn file(path: &Path, layers: &Layers) -> Result<File> {
    let made = fs::OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| Error::io("create", path, error))?;
    let (owner, group) = layers.owner();
    chown(path, Some(owner), Some(group))
        .map_err(|error| Error::io("change the owner of", path, error))?;
    Ok(made)
}

/// A port that nobody listens on now.
fn free_port(wanted: Option<u16>) -> Result<u16> {
    let wanted = wanted.unwrap_or(0);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted));
    let address = listener.and_then(|listener| listener.local_addr());
    let address = address.map_err(|source| Error::Port {
        port: wanted,
        source,
    })?;
    Ok(address.port())
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(LOG_TAIL)))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
