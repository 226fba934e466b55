//! What takes a mount away when the process that serves it dies, however that comes.

use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

/// A shell that waits for the end of this process and then takes the mount away, so that no dead one
/// is left. It has a group of its own: signals of the terminal are not for it. Dropped, it takes the
/// mount away at once.
///
/// The end is told by a pipe, which closes when the last thread of the process is gone. A thread that
/// waits in the kernel for a page that this process owes never goes, not even when it is killed. So
/// the kernel also signals the shell when the thread that started it ends, and the shell aborts the
/// connection, which ends all waiting.
pub(crate) struct Guard {
    /// Stops the shell; closed, it is told that the process has ended.
    stop: Sender<()>,
    thread: JoinHandle<()>,
    aborts: bool,
}

impl Guard {
    const SCRIPT: &str = r#"
trap : TERM
read -r _
umount -f -- "$1" 2>/dev/null
umount -l -- "$1" 2>/dev/null ||
fusermount3 -u -z -- "$1" 2>/dev/null ||
fusermount -u -z -- "$1" 2>/dev/null"#;

    /// Starts the shell. It knows the mount by its place.
    pub(crate) fn start(target: &Path) -> io::Result<Self> {
        let target = target.to_owned();
        let (stop, stopped) = channel();
        let (tell, told) = channel();
        let watch = move || match spawn(&target) {
            Ok((shell, signalled)) => {
                drop(tell.send(Ok(signalled)));
                wait(shell, &stopped);
            }
            Err(error) => drop(tell.send(Err(error))),
        };
        // A thread of its own, since the shell is signalled when it ends.
        let thread = Builder::new().name("mount-guard".to_owned()).spawn(watch)?;
        let signalled = told
            .recv()
            .unwrap_or_else(|_| Err(ErrorKind::BrokenPipe.into()))?;
        Ok(Self {
            stop,
            thread,
            // Only the superuser may force a mount away.
            aborts: signalled && rustix::process::geteuid().is_root(),
        })
    }

    /// Whether it ends this process even where a thread waits for a page of the mount.
    pub(crate) fn aborts(&self) -> bool {
        self.aborts
    }

    /// The mount is gone already.
    pub(crate) fn stop(self) {
        if self.stop.send(()).is_err() || self.thread.join().is_err() {
            tracing::debug!("the guard of the mount had ended");
        }
    }
}

/// Starts the shell; tells whether it is signalled when this thread ends.
fn spawn(target: &Path) -> io::Result<(Child, bool)> {
    let start = |program: &str, arguments: &[&str]| {
        let mut shell = Command::new(program);
        shell.args(arguments).arg("-c").arg(Guard::SCRIPT);
        shell.arg("repo-mount-guard").arg(target);
        shell.current_dir("/").process_group(0);
        shell.stdin(Stdio::piped());
        shell.stdout(Stdio::null()).stderr(Stdio::null());
        shell.spawn()
    };
    match start("setpriv", &["--pdeathsig", "TERM", "--", "/bin/sh"]) {
        Ok(shell) => Ok((shell, true)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok((start("/bin/sh", &[])?, false)),
        Err(error) => Err(error),
    }
}

fn wait(mut shell: Child, stopped: &Receiver<()>) {
    match stopped.recv() {
        Ok(()) => drop(shell.kill()),
        Err(_) => drop(shell.stdin.take()),
    }
    if shell.wait().is_err() {
        tracing::debug!("the guard of the mount had ended");
    }
}
