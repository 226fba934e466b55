//! The lists above the snapshots: all by id, and links to them by host, tag, path and time.
//!
//! Made anew whenever the repository's snapshots have changed; who has a list open keeps the one
//! that was opened.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use chrono::DateTime;
use repo_core::{SnapshotRef, Timestamp};

use super::attr;
use super::inodes::{Inodes, ROOT};
use crate::limits::NAME_MAX;

const LATEST: &str = "latest";

/// What a name in a list stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    List,
    Link(String),
    Snapshot,
}

/// A list: its names, each with its number.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) parent: u64,
    pub(super) names: BTreeMap<Vec<u8>, (u64, Item)>,
}

/// All lists of one state of the repository.
pub(super) struct Layout {
    /// The state.
    pub(super) head: u64,
    lists: HashMap<u64, List>,
    links: HashMap<u64, String>,
    /// When the newest snapshot was taken, and a mark of the state below the millisecond: the kernel
    /// takes a list for unchanged while its time is.
    pub(super) time: SystemTime,
}

impl Layout {
    pub(super) fn new(inodes: &Inodes, head: u64, snapshots: &[SnapshotRef]) -> Self {
        let mut layout = Self {
            head,
            lists: HashMap::from([(ROOT, List::default())]),
            links: HashMap::new(),
            time: SystemTime::UNIX_EPOCH,
        };
        let mut by_time: Vec<&SnapshotRef> = snapshots.iter().collect();
        // Of equal times, the one committed last is the newest.
        by_time.sort_by_key(|known| known.snapshot.time_ms);
        for top in ["snapshots", "by-host", "by-tag", "by-path", "by-time"] {
            layout.list(inodes, &[top.to_owned()]);
        }
        for known in &by_time {
            layout.add(inodes, known);
        }
        let newest = by_time.last().map_or(0, |newest| newest.snapshot.time_ms);
        layout.time = attr::time(timestamp(newest)) + Duration::from_nanos(head % 1_000_000);
        layout
    }

    fn add(&mut self, inodes: &Inodes, known: &SnapshotRef) {
        let snapshot = &known.snapshot;
        let id = snapshot.id();
        let hex = id.to_hex();
        let all = self.list(inodes, &["snapshots".to_owned()]);
        let number = inodes.snapshot(&id.0);
        self.put(all, &hex, number, Item::Snapshot);
        self.link(inodes, &["snapshots".to_owned()], LATEST, &hex);
        let mut places = vec![
            vec!["by-time".to_owned()],
            vec!["by-host".to_owned(), name(&snapshot.host)],
        ];
        let tags = known.tags.iter();
        places.extend(tags.map(|tag| vec!["by-tag".to_owned(), name(tag)]));
        for path in &snapshot.paths {
            let text = String::from_utf8_lossy(&path.0).into_owned();
            let components = text.split('/').filter(|part| !part.is_empty());
            let mut place = vec!["by-path".to_owned()];
            place.extend(components.map(name));
            places.push(place);
        }
        let time = moment(snapshot.time_ms);
        for place in places {
            let up = "../".repeat(place.len());
            let target = format!("{up}snapshots/{hex}");
            let list = self.list(inodes, &place);
            let taken = |layout: &Self, name: &str| {
                let names = layout.lists.get(&list).map(|list| &list.names);
                names.is_some_and(|names| names.contains_key(name.as_bytes()))
            };
            let unique = match taken(self, &time) {
                true => format!("{time}-{}", hex.get(..8).unwrap_or_default()),
                false => time.clone(),
            };
            self.link(inodes, &place, &unique, &target);
            self.link(inodes, &place, LATEST, &target);
        }
    }

    /// The list at `place`, made with those above it where there is none.
    fn list(&mut self, inodes: &Inodes, place: &[String]) -> u64 {
        let mut at = ROOT;
        for depth in 1..=place.len() {
            let (Some(name), Some(above)) = (place.get(depth - 1), place.get(..depth)) else {
                break;
            };
            let number = inodes.list(above);
            // A list takes its name from a link, so that what lies below is reached.
            self.put(at, name, number, Item::List);
            let list = self.lists.entry(number).or_default();
            list.parent = at;
            at = number;
        }
        at
    }

    /// A link in the list at `place`, unless a list has its name.
    fn link(&mut self, inodes: &Inodes, place: &[String], name: &str, target: &str) {
        let list = self.list(inodes, place);
        let number = inodes.list((place, name, target));
        let known = self
            .lists
            .get(&list)
            .and_then(|list| list.names.get(name.as_bytes()));
        if matches!(known, Some((_, Item::List | Item::Snapshot))) {
            return;
        }
        self.put(list, name, number, Item::Link(target.to_owned()));
        self.links.insert(number, target.to_owned());
    }

    fn put(&mut self, list: u64, name: &str, number: u64, item: Item) {
        let list = self.lists.entry(list).or_default();
        list.names.insert(name.as_bytes().to_vec(), (number, item));
    }

    /// Names the state within 31 bits; never 0.
    pub(super) fn mark(&self) -> u64 {
        (self.head & 0x3fff_ffff) + 1
    }

    pub(super) fn get(&self, ino: u64) -> Option<&List> {
        self.lists.get(&ino)
    }

    pub(super) fn target(&self, ino: u64) -> Option<&str> {
        self.links.get(&ino).map(String::as_str)
    }
}

/// A host, tag or component of a path as the name of one entry.
fn name(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '/' => name.push_str("%2F"),
            '%' => name.push_str("%25"),
            '\0' => name.push_str("%00"),
            c => name.push(c),
        }
        if name.len() > NAME_MAX - 8 {
            break;
        }
    }
    match name.as_str() {
        "" => "%".to_owned(),
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        _ => name,
    }
}

fn timestamp(time_ms: i64) -> Timestamp {
    let nanos = u32::try_from(time_ms.rem_euclid(1000)).unwrap_or_default() * 1_000_000;
    Timestamp {
        seconds: time_ms.div_euclid(1000),
        nanos,
    }
}

/// A time in UTC, without the colons that some programs take for a host.
fn moment(time_ms: i64) -> String {
    match DateTime::from_timestamp_millis(time_ms) {
        Some(time) => time.format("%Y-%m-%dT%H-%M-%SZ").to_string(),
        None => time_ms.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_single_components() {
        for (text, shown) in [
            ("web-1", "web-1"),
            ("a/b", "a%2Fb"),
            ("", "%"),
            (".", "%2E"),
            ("..", "%2E%2E"),
            ("50%", "50%25"),
        ] {
            assert_eq!(name(text), shown);
        }
        assert!(name(&"\u{e4}".repeat(500)).len() <= NAME_MAX);
    }

    #[test]
    fn moments_sort_as_times_do() {
        assert_eq!(moment(0), "1970-01-01T00-00-00Z");
        assert_eq!(moment(1_790_000_000_123), "2026-09-21T14-13-20Z");
        assert_eq!(moment(i64::MAX), i64::MAX.to_string());
        let before = timestamp(-1);
        assert_eq!((before.seconds, before.nanos), (-1, 999_000_000));
    }
}
