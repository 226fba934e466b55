//! Edits of one record: spans are exchanged, counts and sizes around them follow.

use std::collections::BTreeMap;
use std::ops::Range;

use super::cursor::put_long;
use super::walk::{Found, Kind, Record};
use super::{Error, Result};

/// What is to change in one record.
#[derive(Debug, Default)]
pub struct Edits {
    changes: Vec<Change>,
    removed: Vec<usize>,
}

#[derive(Debug)]
struct Change {
    span: Range<usize>,
    with: Vec<u8>,
}

impl Change {
    /// By how much it makes the record longer.
    fn growth(&self) -> i64 {
        length(self.with.len()) - length(self.span.len())
    }
}

/// Blocks are far below the largest number.
fn length(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

impl Edits {
    pub(super) fn clear(&mut self) {
        self.changes.clear();
        self.removed.clear();
    }

    /// Gives text or bytes another content.
    pub fn set_bytes(&mut self, found: &Found, value: &[u8]) -> Result<()> {
        if !matches!(found.kind, Kind::Text | Kind::Bytes) {
            return Err(Error::Edit("bytes for what is neither text nor bytes"));
        }
        let mut with = Vec::with_capacity(value.len() + 5);
        put_long(&mut with, length(value.len()));
        with.extend_from_slice(value);
        self.set(found, with);
        Ok(())
    }

    /// Gives a whole number another value.
    pub fn set_long(&mut self, found: &Found, value: i64) -> Result<()> {
        match found.kind {
            Kind::Long => {}
            Kind::Int if i32::try_from(value).is_ok() => {}
            Kind::Int => return Err(Error::Edit("more than 32 bits")),
            _ => return Err(Error::Edit("a number for what is none")),
        }
        let mut with = Vec::with_capacity(10);
        put_long(&mut with, value);
        self.set(found, with);
        Ok(())
    }

    /// The last value given to a field is the one it gets.
    fn set(&mut self, found: &Found, with: Vec<u8>) {
        let span = found.span.clone();
        self.changes.retain(|change| change.span != span);
        self.changes.push(Change { span, with });
    }

    /// Removes the innermost item of an array that the field is part of.
    pub fn remove_item(&mut self, found: &Found) -> Result<()> {
        let item = found.item.ok_or(Error::Edit("it is in no array"))?;
        if !self.removed.contains(&item) {
            self.removed.push(item);
        }
        Ok(())
    }

    /// Appends the record to `out` with the changes made, and tells whether it differs.
    pub(super) fn apply(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> bool {
        let bytes = record.bytes;
        self.changes
            .retain(|change| bytes[change.span.clone()] != change.with[..]);
        if self.changes.is_empty() && self.removed.is_empty() {
            out.extend_from_slice(&bytes[record.span.clone()]);
            return false;
        }
        self.remove(record);
        self.resize(record);
        self.changes.sort_by_key(|change| change.span.start);
        let mut at = record.span.start;
        for change in &self.changes {
            out.extend_from_slice(&bytes[at..change.span.start]);
            out.extend_from_slice(&change.with);
            at = change.span.end;
        }
        out.extend_from_slice(&bytes[at..record.span.end]);
        true
    }

    /// Turns removed items into cut spans and lower counts. A block of none would end its array, so a block
    /// that loses all goes with its count.
    fn remove(&mut self, record: &Record<'_>) {
        let mut of_block: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for item in self.removed.drain(..) {
            let block = record.items[item].block;
            of_block.entry(block).or_default().push(item);
        }
        let mut cuts = Vec::new();
        let mut counts = Vec::new();
        for (block, items) in of_block {
            let block = &record.blocks[block];
            let left = block.count.saturating_sub(items.len() as u64);
            if left == 0 {
                cuts.push(block.count_at.start..block.content.end);
                continue;
            }
            cuts.extend(items.iter().map(|item| record.items[*item].span.clone()));
            let left = i64::try_from(left).unwrap_or(i64::MAX);
            let mut with = Vec::new();
            put_long(
                &mut with,
                if block.size_at.is_some() { -left } else { left },
            );
            counts.push(Change {
                span: block.count_at.clone(),
                with,
            });
        }
        self.changes.append(&mut counts);
        // What is cut takes the changes within it, and smaller cuts, along.
        let within = |outer: &Range<usize>, inner: &Range<usize>| {
            outer.start <= inner.start && inner.end <= outer.end
        };
        self.changes
            .retain(|change| !cuts.iter().any(|cut| within(cut, &change.span)));
        for (place, cut) in cuts.iter().enumerate() {
            let inside_other = cuts
                .iter()
                .enumerate()
                .any(|(other, outer)| other != place && within(outer, cut));
            if !inside_other {
                self.changes.push(Change {
                    span: cut.clone(),
                    with: Vec::new(),
                });
            }
        }
    }

    /// Corrects the sizes that writers gave blocks, inner blocks before those around them.
    fn resize(&mut self, record: &Record<'_>) {
        // Blocks are noted as they begin, so an inner one comes after those around it.
        for block in record.blocks.iter().rev() {
            let Some(size_at) = &block.size_at else {
                continue;
            };
            let content = &block.content;
            let cut = self
                .changes
                .iter()
                .any(|change| change.span.start < size_at.start && size_at.end < change.span.end);
            let inside = self.changes.iter().filter(|change| {
                content.start <= change.span.start && change.span.end <= content.end
            });
            let growth: i64 = inside.map(Change::growth).sum();
            if growth == 0 || cut {
                continue;
            }
            let mut with = Vec::new();
            put_long(&mut with, length(content.len()) + growth);
            self.changes.push(Change {
                span: size_at.clone(),
                with,
            });
        }
    }
}
