//! Which files of a data directory belong into a snapshot, and what their names say.
//!
//! The rules are those of "Backing Up The Data Directory" in the server's manual and what its own
//! `pg_basebackup` leaves out: what only the running server needs, and what recovery makes anew.

use std::collections::HashSet;

/// Directories whose content only the running server needs. They are kept, empty.
const EMPTIED: [&[u8]; 8] = [
    b"pg_dynshmem",
    b"pg_notify",
    b"pg_replslot",
    b"pg_serial",
    b"pg_snapshots",
    b"pg_stat_tmp",
    b"pg_subtrans",
    b"pg_wal",
];

/// Files directly below the data directory that the running server, its start or a backup makes.
const ROOT_FILES: [&[u8]; 11] = [
    b"backup_label",
    b"backup_label.old",
    b"backup_manifest",
    b"current_logfiles.tmp",
    b"postgresql.auto.conf.tmp",
    b"postmaster.opts",
    b"postmaster.pid",
    b"recovery.signal",
    b"standby.signal",
    b"tablespace_map",
    b"tablespace_map.old",
];

/// What is to be done with a name found in the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is stored.
    Keep,
    /// A directory of it is stored without its content.
    Empty,
    /// It is not stored.
    Leave,
}

/// The fate of `name` in the directory at `directory`, a path below the data directory.
///
/// Relations that are temporary or not logged need a look at their neighbours, see [`Unlogged`].
pub(crate) fn fate(directory: &[u8], name: &[u8]) -> Fate {
    let in_root = directory.is_empty();
    let left = name.starts_with(b"pgsql_tmp")
        || name.starts_with(b"pg_internal.init")
        || (in_root && (ROOT_FILES.contains(&name) || name.starts_with(b".s.PGSQL.")))
        || (in_root && name == crate::description::PLACE.as_bytes());
    if left {
        Fate::Leave
    } else if in_root && EMPTIED.contains(&name) {
        Fate::Empty
    } else {
        Fate::Keep
    }
}

/// Whether relations lie in the directory at `path`: `global`, `base/<oid>`, or
/// `pg_tblspc/<oid>/PG_<version>/<oid>`.
pub(crate) fn holds_relations(path: &[u8]) -> bool {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    match parts[..] {
        [b"global"] => true,
        [b"base", database] => number(database).is_some(),
        [b"pg_tblspc", tablespace, version, database] => {
            number(tablespace).is_some()
                && version.starts_with(b"PG_")
                && number(database).is_some()
        }
        _ => false,
    }
}

/// The database whose files the directory at `path` holds, if it is one of a database.
pub(crate) fn database_of(path: &[u8]) -> Option<u32> {
    let mut parts = path.split(|byte| *byte == b'/');
    match (parts.next()?, parts.next()?) {
        (b"base", database) => number(database),
        (b"pg_tblspc", _) => parts.nth(1).and_then(number),
        _ => None,
    }
}

/// A part of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fork {
    Main,
    FreeSpace,
    Visibility,
    /// What an unlogged relation is reset to.
    Initial,
}

/// What the name of a relation's file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RelationFile {
    pub(crate) filenode: u32,
    pub(crate) fork: Fork,
    /// Number of the segment; a relation is cut into files of 1 GiB.
    pub(crate) segment: u32,
    /// Only the session that made it can use it.
    pub(crate) temporary: bool,
}

impl RelationFile {
    /// Reads `<filenode>[_fsm|_vm|_init][.<segment>]`, `t<backend>_` before it when temporary.
    pub(crate) fn parse(name: &[u8]) -> Option<Self> {
        let (temporary, rest) = match name.strip_prefix(b"t") {
            Some(rest) => {
                let (backend, rest) = split(rest, b'_');
                number(backend)?;
                (true, rest?)
            }
            None => (false, name),
        };
        let (stem, segment) = split(rest, b'.');
        let segment = match segment {
            Some(segment) => number(segment)?,
            None => 0,
        };
        let (filenode, fork) = split(stem, b'_');
        let fork = match fork {
            None => Fork::Main,
            Some(b"fsm") => Fork::FreeSpace,
            Some(b"vm") => Fork::Visibility,
            Some(b"init") => Fork::Initial,
            Some(_) => return None,
        };
        Some(Self {
            filenode: number(filenode)?,
            fork,
            segment,
            temporary,
        })
    }
}

fn split(bytes: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|byte| *byte == at) {
        Some(place) => (&bytes[..place], Some(&bytes[place + 1..])),
        None => (bytes, None),
    }
}

/// Reads a decimal number without sign or superfluous zeros.
pub(crate) fn number(digits: &[u8]) -> Option<u32> {
    let plain = digits.iter().all(u8::is_ascii_digit)
        && (digits.len() == 1 || digits.first() != Some(&b'0'));
    if !plain {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

/// Relations of one directory that are not logged: those with an initial fork, which recovery makes
/// the relation of.
#[derive(Debug, Default)]
pub(crate) struct Unlogged(HashSet<u32>);

impl Unlogged {
    /// Looks at a name of the directory.
    pub(crate) fn look(&mut self, name: &[u8]) {
        if let Some(file) = RelationFile::parse(name)
            && file.fork == Fork::Initial
        {
            self.0.insert(file.filenode);
        }
    }

    /// Whether a file of the directory is left out: of a temporary relation, or of an unlogged one
    /// and not its initial fork.
    pub(crate) fn leaves(&self, name: &[u8]) -> bool {
        RelationFile::parse(name).is_some_and(|file| {
            file.temporary || (file.fork != Fork::Initial && self.0.contains(&file.filenode))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_only_the_running_server_needs_stays_out() {
        for (directory, name, wanted) in [
            ("", "PG_VERSION", Fate::Keep),
            ("", "postmaster.pid", Fate::Leave),
            ("", "postmaster.opts", Fate::Leave),
            ("", "backup_label", Fate::Leave),
            ("", "standby.signal", Fate::Leave),
            ("", "postgresql.auto.conf", Fate::Keep),
            ("", "postgresql.auto.conf.tmp", Fate::Leave),
            ("", ".s.PGSQL.5432.lock", Fate::Leave),
            ("", ".repo", Fate::Leave),
            ("", "pg_wal", Fate::Empty),
            ("", "pg_replslot", Fate::Empty),
            ("", "pg_stat_tmp", Fate::Empty),
            ("", "pg_subtrans", Fate::Empty),
            ("", "pg_stat", Fate::Keep),
            ("", "pg_xact", Fate::Keep),
            ("log", "pg_wal", Fate::Keep),
            ("log", "postmaster.pid", Fate::Keep),
            ("global", "pg_internal.init", Fate::Leave),
            ("base/5", "pg_internal.init.4711", Fate::Leave),
            ("base", "pgsql_tmp", Fate::Leave),
            ("base/pgsql_tmp", "pgsql_tmp1.0", Fate::Leave),
            ("base/5", "1259", Fate::Keep),
        ] {
            assert_eq!(
                fate(directory.as_bytes(), name.as_bytes()),
                wanted,
                "{directory}/{name}"
            );
        }
    }

    #[test]
    fn directories_of_relations_are_known_by_their_path() {
        for (path, relations, database) in [
            ("global", true, None),
            ("base", false, None),
            ("base/5", true, Some(5)),
            ("base/pgsql_tmp", false, None),
            ("pg_tblspc/16400/PG_15_202209061/16401", true, Some(16401)),
            ("pg_tblspc/16400/PG_15_202209061", false, None),
            ("pg_xact", false, None),
            ("", false, None),
        ] {
            assert_eq!(holds_relations(path.as_bytes()), relations, "{path}");
            assert_eq!(database_of(path.as_bytes()), database, "{path}");
        }
    }

    #[test]
    fn names_of_relations_are_read() {
        let of = |name: &str| RelationFile::parse(name.as_bytes());
        let file = |filenode, fork, segment, temporary| {
            Some(RelationFile {
                filenode,
                fork,
                segment,
                temporary,
            })
        };
        assert_eq!(of("16384"), file(16384, Fork::Main, 0, false));
        assert_eq!(of("16384.12"), file(16384, Fork::Main, 12, false));
        assert_eq!(of("16384_fsm.1"), file(16384, Fork::FreeSpace, 1, false));
        assert_eq!(of("16384_vm"), file(16384, Fork::Visibility, 0, false));
        assert_eq!(of("16384_init"), file(16384, Fork::Initial, 0, false));
        assert_eq!(of("t3_16384_fsm"), file(16384, Fork::FreeSpace, 0, true));
        for other in [
            "PG_VERSION",
            "pg_filenode.map",
            "",
            "_fsm",
            "1_",
            "1.",
            "1.x",
            "t_1",
            "t1",
            "01",
            "1_foo",
            "4294967296",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn of_unlogged_relations_the_initial_fork_stays() {
        let names = [
            "1",
            "1_fsm",
            "1.1",
            "2",
            "2_fsm",
            "2_vm",
            "2.1",
            "2_init",
            "t4_3",
            "PG_VERSION",
        ];
        let mut unlogged = Unlogged::default();
        for name in names {
            unlogged.look(name.as_bytes());
        }
        let kept: Vec<_> = names
            .into_iter()
            .filter(|name| !unlogged.leaves(name.as_bytes()))
            .collect();
        assert_eq!(kept, ["1", "1_fsm", "1.1", "2_init", "PG_VERSION"]);
    }

    proptest! {
        #[test]
        fn every_name_of_the_server_is_read_back(filenode: u32, fork in 0..4usize, segment in 0..2000u32) {
            let (fork, suffix) = [
                (Fork::Main, ""), (Fork::FreeSpace, "_fsm"), (Fork::Visibility, "_vm"), (Fork::Initial, "_init"),
            ][fork];
            let dot = if segment == 0 { String::new() } else { format!(".{segment}") };
            let name = format!("{filenode}{suffix}{dot}");
            let read = RelationFile::parse(name.as_bytes()).expect("a relation");
            prop_assert_eq!((read.filenode, read.fork, read.segment), (filenode, fork, segment));
        }
    }
}
