//! Settings that make a restored server replay an archive, to its end or to a point before it.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use super::create;
use crate::error::{Error, Result};
use crate::lsn::Lsn;

/// File of settings that the server itself writes, too; the last line of a name counts.
const SETTINGS: &str = "postgresql.auto.conf";
/// Tells the server to replay an archive.
const SIGNAL: &str = "recovery.signal";
/// Settings that name a target, of which a server accepts one.
const TARGETS: [&str; 5] = [
    "recovery_target",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_xid",
];

/// Up to where to replay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Target {
    /// The end of the archive.
    #[default]
    Latest,
    /// The first moment at which the files are consistent.
    Immediate,
    /// A time, in the server's notation.
    Time(String),
    /// A position in the log.
    Lsn(Lsn),
    /// A transaction.
    Xid(u64),
    /// A restore point that was made with `pg_create_restore_point`.
    Name(String),
}

/// What the server does at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It waits, read-only, for somebody to look and decide.
    Pause,
    /// It becomes a primary.
    Promote,
    /// It stops.
    Shutdown,
}

/// What a restored server is to replay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Shell command that copies segment `%f` of the log to `%p`.
    pub restore_command: String,
    /// Up to where.
    pub target: Target,
    /// Stop before the target instead of after it.
    pub exclusive: bool,
    /// Timeline to follow: a number, `current` or `latest`, which is the server's default.
    pub timeline: Option<String>,
    /// What to do there; the server's default is to pause.
    pub action: Option<Action>,
}

impl Recovery {
    /// Adds the settings to those of the data directory.
    pub(super) fn write(&self, pgdata: &Path) -> Result<()> {
        let path = pgdata.join(SETTINGS);
        let mut text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io("read", path, error)),
        };
        if text.last().is_some_and(|last| *last != b'\n') {
            text.push(b'\n');
        }
        text.extend_from_slice(self.settings().as_bytes());
        create(&path, pgdata)?
            .write_all(&text)
            .map_err(|error| Error::io("write", path, error))?;
        create(&pgdata.join(SIGNAL), pgdata)?;
        Ok(())
    }

    /// The lines to add. Targets of an earlier recovery are unset: the server accepts one only.
    fn settings(&self) -> String {
        let target = match &self.target {
            Target::Latest => None,
            Target::Immediate => Some(("recovery_target", "immediate".to_owned())),
            Target::Time(time) => Some(("recovery_target_time", time.clone())),
            Target::Lsn(lsn) => Some(("recovery_target_lsn", lsn.to_string())),
            Target::Xid(xid) => Some(("recovery_target_xid", xid.to_string())),
            Target::Name(name) => Some(("recovery_target_name", name.clone())),
        };
        let mut lines = vec!["# Added by repo pg restore.".to_owned()];
        let mut set = |name: &str, value: &str| lines.push(format!("{name} = {}", quoted(value)));
        set("restore_command", &self.restore_command);
        let chosen = target.as_ref().map(|(name, _)| *name);
        for name in TARGETS.into_iter().filter(|name| Some(*name) != chosen) {
            set(name, "");
        }
        // After the empty ones: to a server, each empty one unsets whatever target is set.
        if let Some((name, value)) = &target {
            set(name, value);
        }
        set(
            "recovery_target_inclusive",
            if self.exclusive { "off" } else { "on" },
        );
        set(
            "recovery_target_timeline",
            self.timeline.as_deref().unwrap_or("latest"),
        );
        let action = match self.action {
            None | Some(Action::Pause) => "pause",
            Some(Action::Promote) => "promote",
            Some(Action::Shutdown) => "shutdown",
        };
        set("recovery_target_action", action);
        lines.push(String::new());
        lines.join("\n")
    }
}

/// A value of a settings file.
fn quoted(value: &str) -> String {
    let mut text = String::from("'");
    for c in value.chars() {
        match c {
            '\'' => text.push_str("''"),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            c => text.push(c),
        }
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_target_is_set_and_the_others_are_unset() {
        let recovery = Recovery {
            restore_command: "'/a b/repo' pg archive-get %f \"%p\"".to_owned(),
            target: Target::Lsn(Lsn(0x3000)),
            exclusive: true,
            timeline: Some("2".to_owned()),
            action: Some(Action::Promote),
        };
        let text = recovery.settings();
        for line in [
            "restore_command = '''/a b/repo'' pg archive-get %f \"%p\"'",
            "recovery_target_lsn = '0/3000'",
            "recovery_target_time = ''",
            "recovery_target = ''",
            "recovery_target_inclusive = 'off'",
            "recovery_target_timeline = '2'",
            "recovery_target_action = 'promote'",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        let place = |line: &str| text.find(line).expect("the line");
        for name in TARGETS {
            assert!(
                place(&format!("{name} = ")) <= place("recovery_target_lsn = '0"),
                "{name}"
            );
        }
        let plain = Recovery::default().settings();
        assert!(
            plain.contains("recovery_target_action = 'pause'\n"),
            "{plain}"
        );
        assert!(
            plain.contains("recovery_target_timeline = 'latest'\n"),
            "{plain}"
        );
    }

    #[test]
    fn settings_are_added_and_the_signal_is_given() {
        let root = tempfile::tempdir().expect("a directory");
        let file = root.path().join(SETTINGS);
        fs::write(&file, "work_mem = '1MB'").expect("written");
        let recovery = Recovery {
            target: Target::Name("it's".to_owned()),
            ..Recovery::default()
        };
        recovery.write(root.path()).expect("written");
        let text = fs::read_to_string(&file).expect("read");
        assert!(text.starts_with("work_mem = '1MB'\n# Added"), "{text}");
        assert!(
            text.contains("\nrecovery_target_name = 'it''s'\n"),
            "{text}"
        );
        assert_eq!(fs::read(root.path().join(SIGNAL)).expect("a signal"), b"");
    }

    #[test]
    fn values_are_quoted_as_the_server_reads_them() {
        assert_eq!(quoted("a'b\\c\nd"), "'a''b\\\\c\\nd'");
    }
}
