//! A real S3 server that a test can kill and start again on the data it left.
//!
//! Starting, ports and the end of everything are `repo_testkit::Seaweed`'s; here its process is
//! found, killed as a power cut would, and run again with the same arguments in the same place.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use repo_testkit::Seaweed;
use rustix::process::{Pid, Signal, kill_process};

use crate::moment::wait;

/// A minute, in pauses.
const PAUSES_MAX: usize = 600;

/// Ends the server when this process ends, however it does: the pipe it reads closes.
const SUPERVISOR: &str = r#"
"$@" </dev/null >>log 2>&1 &
server=$!
read -r _
kill -9 $server
wait $server 2>/dev/null
"#;

/// A server with one bucket.
#[derive(Debug)]
pub struct Server {
    // Dropped first: the directory it works in belongs to the other.
    again: Option<Supervised>,
    first: Seaweed,
    arguments: Vec<String>,
    place: PathBuf,
    process: Pid,
}

#[derive(Debug)]
struct Supervised(Child);

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // Its work is to end; there is nobody to tell that it could not.
        drop(self.0.wait());
    }
}

impl Server {
    /// Starts a server and waits until it answers.
    pub fn start() -> io::Result<Self> {
        let first = Seaweed::start()?;
        let (process, arguments) = find(&first)?;
        let place = fs::read_link(format!("/proc/{}/cwd", process.as_raw_nonzero()))?;
        Ok(Self {
            again: None,
            first,
            arguments,
            place,
            process,
        })
    }

    /// Where and how to reach it.
    #[must_use]
    pub fn seaweed(&self) -> &Seaweed {
        &self.first
    }

    /// Kills it at once.
    pub fn kill(&mut self) -> io::Result<()> {
        match self.again.take() {
            Some(supervised) => drop(supervised),
            None => kill_process(self.process, Signal::KILL)?,
        }
        self.wait(false)
    }

    /// Starts it again on the same data and port.
    pub fn start_again(&mut self) -> io::Result<()> {
        let supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, "sh"])
            .args(&self.arguments)
            .current_dir(&self.place)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.again = Some(Supervised(supervisor));
        self.wait(true)
    }

    /// Waits until it answers, or no longer does.
    fn wait(&self, answers: bool) -> io::Result<()> {
        for _ in 0..PAUSES_MAX {
            // Unsigned requests are refused by a gateway that has read its identities.
            if self.answer().is_ok_and(|a| a.contains(" 403 ")) == answers {
                return Ok(());
            }
            pause();
        }
        Err(io::Error::other(format!(
            "the server answers: {}",
            !answers
        )))
    }

    fn answer(&self) -> io::Result<String> {
        let endpoint = self.first.endpoint();
        let address = endpoint.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET / HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
        let mut answer = [0; 64];
        let length = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    }
}

/// The process that serves this port, and how it was started.
fn find(server: &Seaweed) -> io::Result<(Pid, Vec<String>)> {
    let endpoint = server.endpoint();
    let port = endpoint.rsplit(':').next().unwrap_or_default();
    let wanted = format!("-s3.port={port}");
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // It may be gone by now, or be somebody else's.
        let line = fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        let arguments: Vec<_> = line
            .split(|byte| *byte == 0)
            .map(|argument| String::from_utf8_lossy(argument).into_owned())
            .filter(|argument| !argument.is_empty())
            .collect();
        if arguments.contains(&wanted)
            && let Some(process) = Pid::from_raw(number)
        {
            return Ok((process, arguments));
        }
    }
    Err(io::Error::other(format!("no process serves port {port}")))
}

/// Waits a moment for another process, which tells nobody when it is ready.
pub fn pause() {
    wait(Duration::from_millis(100));
}
