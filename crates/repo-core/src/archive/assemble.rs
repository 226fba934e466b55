//! Putting the tree together: batches back in walk order, directories closed as they end.

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;

use repo_format::tree::{Entry, EntryType, Totals};

use crate::archive::batch::{Batch, Item, Permits};
use crate::archive::lists::DirectoryWriter;
use crate::archive::run::Run;
use crate::archive::worker::Workers;
use crate::error::{Error, Result};

/// The finished tree.
pub(crate) struct Assembled {
    pub(crate) root: Entry,
    pub(crate) totals: Totals,
    pub(crate) directories: u64,
}

/// A directory whose entries are still coming.
struct Open {
    entry: Entry,
    writer: DirectoryWriter,
    totals: Totals,
}

/// Replays batches in order until all have come. `None` when the run failed.
pub(crate) fn assemble(
    run: &Run<'_>,
    workers: &Workers,
    permits: &Permits,
    batches: &Receiver<Batch>,
) -> Option<Assembled> {
    let mut assembler = Assembler::default();
    let mut early: BTreeMap<u64, Batch> = BTreeMap::new();
    let mut expected = 0;
    let mut failed = false;
    for batch in batches {
        early.insert(batch.number, batch);
        while let Some(batch) = early.remove(&expected) {
            expected += 1;
            if !failed
                && !run.stopped()
                && let Err(error) = assembler.replay(run, workers, batch)
            {
                run.fail(error);
                failed = true;
                permits.close();
            }
            permits.release();
        }
    }
    if run.stopped() {
        return None;
    }
    match assembler.finish() {
        Ok(done) => Some(done),
        Err(error) => {
            run.fail(error);
            None
        }
    }
}

#[derive(Default)]
struct Assembler {
    stack: Vec<Open>,
    done: Option<(Entry, Totals)>,
    directories: u64,
}

impl Assembler {
    fn replay(&mut self, run: &Run<'_>, workers: &Workers, batch: Batch) -> Result<()> {
        workers.with(run, |worker| {
            for item in batch.items {
                match item {
                    Item::Enter(entry) => self.stack.push(Open {
                        entry: *entry,
                        writer: DirectoryWriter::default(),
                        totals: Totals::default(),
                    }),
                    Item::Done(Some(entry)) => {
                        let totals = Totals {
                            files: 1,
                            bytes: entry.size,
                        };
                        let open = self.top()?;
                        open.totals.add(totals);
                        open.writer.push(&entry, &mut worker.sink(run))?;
                    }
                    Item::Done(None) => {}
                    Item::Leave => {
                        let open = self.stack.pop().ok_or(UNBALANCED)?;
                        let mut entry = open.entry;
                        entry.subtree = open.writer.finish(&mut worker.sink(run))?;
                        entry.totals = Some(open.totals);
                        self.directories += 1;
                        match self.stack.last_mut() {
                            Some(above) => {
                                above.totals.add(open.totals);
                                above.writer.push(&entry, &mut worker.sink(run))?;
                            }
                            None => self.done = Some((entry, open.totals)),
                        }
                    }
                    Item::Source(_) => return Err(UNBALANCED),
                }
            }
            Ok(())
        })
    }

    fn top(&mut self) -> Result<&mut Open> {
        self.stack.last_mut().ok_or(UNBALANCED)
    }

    fn finish(self) -> Result<Assembled> {
        let (root, totals) = self.done.ok_or(UNBALANCED)?;
        debug_assert_eq!(root.kind, EntryType::Directory);
        Ok(Assembled {
            root,
            totals,
            directories: self.directories,
        })
    }
}

const UNBALANCED: Error = Error::Internal { what: "tree" };
