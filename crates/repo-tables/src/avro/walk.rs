//! A walk over one record by its schema that notes where the wanted fields are.
//!
//! A wanted field is a path of field ids from the record down; arrays and maps on the way are gone through,
//! so that one path may be met many times. Everything else is stepped over.

use std::ops::Range;

use super::cursor::Cursor;
use super::schema::{Field, Schema, Type, TypeId};
use super::{DEPTH_MAX, Error, Result, STEPS_EACH_BYTE, STEPS_MORE};

/// One field on a path: by its id, or by its name where the writer gave no ids.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    id: i32,
    name: &'static str,
}

impl Step {
    /// A field.
    pub const fn new(id: i32, name: &'static str) -> Self {
        Self { id, name }
    }

    fn is(&self, field: &Field) -> bool {
        match field.id {
            Some(id) => id == self.id,
            None => field.name == self.name,
        }
    }
}

/// The fields a walk is to find. Each path has a number, its place in the list.
#[derive(Debug)]
pub struct Selection {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    below: Vec<(Step, usize)>,
    slot: Option<usize>,
}

impl Selection {
    /// A selection of fields by their paths.
    pub fn new(paths: &[&[Step]]) -> Self {
        let mut nodes = vec![Node::default()];
        for (slot, path) in paths.iter().enumerate() {
            let mut at = 0;
            for step in *path {
                let known = nodes[at]
                    .below
                    .iter()
                    .find(|(known, _)| known.id == step.id);
                at = match known {
                    Some((_, below)) => *below,
                    None => {
                        nodes.push(Node::default());
                        let below = nodes.len() - 1;
                        nodes[at].below.push((*step, below));
                        below
                    }
                };
            }
            nodes[at].slot = Some(slot);
        }
        Self { nodes }
    }
}

/// What a found field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Nothing.
    Null,
    /// A whole number of 32 or 64 bits, or the place of an enum's symbol.
    Long(i64),
    /// Text, which nobody checked to be UTF-8.
    Text(&'a [u8]),
    /// Bytes.
    Bytes(&'a [u8]),
    /// Something that is neither read nor edited: a boolean, a fraction, fixed bytes.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Int,
    Long,
    Enum,
    Text,
    Bytes,
    Other,
}

/// A wanted field in a record.
#[derive(Debug, Clone)]
pub struct Found {
    pub(super) slot: usize,
    pub(super) kind: Kind,
    /// The encoded value with its length, without the branch of a union.
    pub(super) span: Range<usize>,
    /// The value without its length.
    pub(super) inner: Range<usize>,
    pub(super) number: i64,
    /// The innermost item of an array that it is part of.
    pub(super) item: Option<usize>,
}

impl Found {
    /// The number of its path in the selection.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// The innermost item of an array it is part of: fields of the same item have the same number.
    pub fn item(&self) -> Option<usize> {
        self.item
    }
}

/// One item of an array or map.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) span: Range<usize>,
    pub(super) block: usize,
}

/// Items written together: a count, a size if the writer gave one, the items.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) count_at: Range<usize>,
    pub(super) count: u64,
    pub(super) size_at: Option<Range<usize>>,
    pub(super) content: Range<usize>,
}

/// One record and the wanted fields in it.
#[derive(Debug)]
pub struct Record<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) span: Range<usize>,
    pub(super) found: &'a [Found],
    pub(super) items: &'a [Item],
    pub(super) blocks: &'a [Block],
}

impl<'a> Record<'a> {
    /// The record as it is encoded.
    pub fn encoded(&self) -> &'a [u8] {
        &self.bytes[self.span.clone()]
    }

    /// All that was found, in the order of the file.
    pub fn found(&self) -> &'a [Found] {
        self.found
    }

    /// What was found of one path.
    pub fn all(&self, slot: usize) -> impl Iterator<Item = &'a Found> {
        self.found.iter().filter(move |found| found.slot == slot)
    }

    /// The first field of one path that is not null.
    pub fn get(&self, slot: usize) -> Option<&'a Found> {
        self.all(slot).find(|found| found.kind != Kind::Null)
    }

    /// The value of a found field.
    pub fn value(&self, found: &Found) -> Value<'a> {
        let inner = &self.bytes[found.inner.clone()];
        match found.kind {
            Kind::Null => Value::Null,
            Kind::Int | Kind::Long | Kind::Enum => Value::Long(found.number),
            Kind::Text => Value::Text(inner),
            Kind::Bytes => Value::Bytes(inner),
            Kind::Other => Value::Other,
        }
    }

    /// The first value of one path, if it is a whole number.
    pub fn long(&self, slot: usize) -> Option<i64> {
        match self.value(self.get(slot)?) {
            Value::Long(number) => Some(number),
            _ => None,
        }
    }

    /// The first value of one path, if it is text or bytes.
    pub fn bytes(&self, slot: usize) -> Option<&'a [u8]> {
        match self.value(self.get(slot)?) {
            Value::Text(bytes) | Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// Walks records of one schema; what it notes of a record is kept until the next.
#[derive(Debug)]
pub(super) struct Walker<'s> {
    schema: &'s Schema,
    selection: &'s Selection,
    steps: u64,
    depth: u32,
    item: Option<usize>,
    found: Vec<Found>,
    items: Vec<Item>,
    blocks: Vec<Block>,
}

impl<'s> Walker<'s> {
    pub(super) fn new(schema: &'s Schema, selection: &'s Selection) -> Self {
        Self {
            schema,
            selection,
            steps: STEPS_MORE,
            depth: 0,
            item: None,
            found: Vec::new(),
            items: Vec::new(),
            blocks: Vec::new(),
        }
    }

    /// Allows the values that a block of so many bytes may hold.
    pub(super) fn allow(&mut self, bytes: usize) {
        let more = STEPS_EACH_BYTE.saturating_mul(bytes as u64);
        self.steps = self.steps.saturating_add(more);
    }

    /// The next record of a block.
    pub(super) fn next<'r, 'b: 'r>(&'r mut self, cursor: &mut Cursor<'b>) -> Result<Record<'r>> {
        self.found.clear();
        self.items.clear();
        self.blocks.clear();
        let start = cursor.at();
        self.walk(cursor, self.schema.root(), Some(0))?;
        Ok(Record {
            bytes: cursor.bytes(),
            span: start..cursor.at(),
            found: &self.found,
            items: &self.items,
            blocks: &self.blocks,
        })
    }

    fn walk(&mut self, cursor: &mut Cursor<'_>, of: TypeId, wanted: Option<usize>) -> Result<()> {
        self.steps = self
            .steps
            .checked_sub(1)
            .ok_or(Error::Malformed("more values than its bytes can hold"))?;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Error::Malformed("values nested too deep"));
        }
        let schema = self.schema;
        match schema.get(of) {
            Type::Record(fields) => {
                for field in fields {
                    let below = wanted.and_then(|node| self.below(node, field));
                    self.walk(cursor, field.of, below)?;
                }
            }
            Type::Union(branches) => {
                let branch = cursor.length()?;
                let branch = branches.get(branch);
                let branch = branch.ok_or(Error::Malformed("a branch that a union lacks"))?;
                self.walk(cursor, *branch, wanted)?;
            }
            Type::Array(of) => self.blocks_of(cursor, *of, false, wanted)?,
            Type::Map(of) => self.blocks_of(cursor, *of, true, wanted)?,
            leaf => self.leaf(cursor, leaf, wanted)?,
        }
        self.depth -= 1;
        Ok(())
    }

    fn below(&self, node: usize, field: &Field) -> Option<usize> {
        let below = &self.selection.nodes[node].below;
        let (_, node) = below.iter().find(|(step, _)| step.is(field))?;
        Some(*node)
    }

    fn leaf(&mut self, cursor: &mut Cursor<'_>, of: &Type, wanted: Option<usize>) -> Result<()> {
        let start = cursor.at();
        let mut number = 0;
        let mut inner = None;
        let kind = match of {
            Type::Null => Kind::Null,
            Type::Int | Type::Long | Type::Enum => {
                number = cursor.long()?;
                match of {
                    Type::Int => Kind::Int,
                    Type::Long => Kind::Long,
                    _ => Kind::Enum,
                }
            }
            Type::Text => {
                inner = Some(cursor.sized("text")?);
                Kind::Text
            }
            Type::Bytes => {
                inner = Some(cursor.sized("bytes")?);
                Kind::Bytes
            }
            other => {
                let size = match other {
                    Type::Boolean => 1,
                    Type::Float => 4,
                    Type::Double => 8,
                    Type::Fixed(size) => *size,
                    _ => return Err(Error::Malformed("a type that is no leaf")),
                };
                cursor.take(size, "value")?;
                Kind::Other
            }
        };
        if let Some(slot) = wanted.and_then(|node| self.selection.nodes[node].slot) {
            let span = start..cursor.at();
            self.found.push(Found {
                slot,
                kind,
                inner: inner.unwrap_or_else(|| span.clone()),
                span,
                number,
                item: self.item,
            });
        }
        Ok(())
    }

    /// The blocks of an array, or of a map, whose items begin with a key.
    fn blocks_of(
        &mut self,
        cursor: &mut Cursor<'_>,
        of: TypeId,
        keyed: bool,
        wanted: Option<usize>,
    ) -> Result<()> {
        loop {
            let start = cursor.at();
            let count = cursor.long()?;
            let count_at = start..cursor.at();
            if count == 0 {
                return Ok(());
            }
            let (size_at, end) = if count < 0 {
                let start = cursor.at();
                let size = cursor.length()?;
                let size_at = start..cursor.at();
                (Some(size_at), Some(cursor.at().saturating_add(size)))
            } else {
                (None, None)
            };
            let start = cursor.at();
            let noted = wanted.map(|_| {
                self.blocks.push(Block {
                    count_at,
                    count: count.unsigned_abs(),
                    size_at,
                    content: start..start,
                });
                self.blocks.len() - 1
            });
            for _ in 0..count.unsigned_abs() {
                self.one_item(cursor, of, keyed, wanted, noted)?;
            }
            if end.is_some_and(|end| end != cursor.at()) {
                return Err(Error::Malformed("items that are not as long as declared"));
            }
            if let Some(block) = noted {
                self.blocks[block].content.end = cursor.at();
            }
        }
    }

    fn one_item(
        &mut self,
        cursor: &mut Cursor<'_>,
        of: TypeId,
        keyed: bool,
        wanted: Option<usize>,
        block: Option<usize>,
    ) -> Result<()> {
        let start = cursor.at();
        let outer = self.item;
        if let Some(block) = block {
            self.items.push(Item {
                span: start..start,
                block,
            });
            self.item = Some(self.items.len() - 1);
        }
        let item = self.item;
        if keyed {
            cursor.sized("key")?;
        }
        self.walk(cursor, of, wanted)?;
        if let (Some(item), Some(_)) = (item, block) {
            self.items[item].span.end = cursor.at();
        }
        self.item = outer;
        Ok(())
    }
}
