//! A shell that cleans up behind a `repo pg open` that was killed.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// It waits for the end of this process, however it comes, then ends the server, takes the mounts
/// away and deletes the place. It has a group of its own: signals of the terminal are not for it.
pub(super) struct Guard(Child);

impl Guard {
    const SCRIPT: &str = r#"
server=
while read -r line; do server=$line; done
if [ -n "$server" ]; then
    kill -QUIT "$server"
    left=100
    while [ $left -gt 0 ] && kill -0 "$server"; do sleep 0.1; left=$((left - 1)); done
fi
for target in "$1"/pgdata "$1"/tablespace-* "$1"/snapshot; do umount -l -- "$target"; done
rm -rf -- "$1""#;

    pub(super) fn start(place: &Path) -> io::Result<Self> {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(Self::SCRIPT).arg("repo-pg-guard");
        shell.arg(place).current_dir("/").process_group(0);
        shell.stdin(Stdio::piped());
        shell.stdout(Stdio::null()).stderr(Stdio::null());
        shell.spawn().map(Self)
    }

    /// Names the server that is to be ended.
    pub(super) fn server(&mut self, pid: u32) {
        let Some(pipe) = &mut self.0.stdin else {
            return;
        };
        if let Err(error) = writeln!(pipe, "{pid}") {
            tracing::debug!(%error, "the guard of the server had ended");
        }
    }

    /// Everything is gone already.
    pub(super) fn stop(mut self) {
        if self.0.kill().is_err() || self.0.wait().is_err() {
            tracing::debug!("the guard of the server had ended");
        }
    }
}
