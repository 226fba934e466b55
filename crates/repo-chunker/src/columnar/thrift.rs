//! Reader of Thrift's compact encoding, as much as Parquet metadata needs.
//!
//! Walks fields and skips what its caller does not want. It allocates nothing, nests at most
//! [`DEPTH_MAX`] deep, and every element it counts costs at least one byte of input, so the work
//! is bounded by the input whatever the input claims.

/// Deepest nesting followed; real metadata nests about seven deep.
const DEPTH_MAX: u32 = 24;

/// The bytes are not compact Thrift, or end too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Type of a field or element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    True,
    False,
    I8,
    I16,
    I32,
    I64,
    Double,
    Binary,
    List,
    Set,
    Map,
    Struct,
    Uuid,
}

impl Kind {
    fn from_nibble(nibble: u8) -> Result<Self, Malformed> {
        Ok(match nibble {
            1 => Self::True,
            2 => Self::False,
            3 => Self::I8,
            4 => Self::I16,
            5 => Self::I32,
            6 => Self::I64,
            7 => Self::Double,
            8 => Self::Binary,
            9 => Self::List,
            10 => Self::Set,
            11 => Self::Map,
            12 => Self::Struct,
            13 => Self::Uuid,
            _ => return Err(Malformed),
        })
    }
}

/// Position in compact Thrift bytes.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            depth: 0,
        }
    }

    /// Returns how many bytes were read.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Calls `field` with the id and type of each field of a struct; it must read or skip it.
    pub(crate) fn fields(
        &mut self,
        mut field: impl FnMut(&mut Self, i16, Kind) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.nested(|reader| {
            let mut id = 0i16;
            loop {
                let head = reader.byte()?;
                if head == 0 {
                    return Ok(());
                }
                let kind = Kind::from_nibble(head & 15)?;
                id = match head >> 4 {
                    0 => i16::try_from(reader.integer()?).map_err(|_| Malformed)?,
                    delta => id.checked_add(i16::from(delta)).ok_or(Malformed)?,
                };
                field(reader, id, kind)?;
            }
        })
    }

    /// Calls `element` at the start of each struct of a list.
    pub(crate) fn structs(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let (count, kind) = self.list()?;
        if kind != Kind::Struct {
            return Err(Malformed);
        }
        self.nested(|reader| (0..count).try_for_each(|_| element(reader)))
    }

    /// Reads a zigzag integer of any width.
    pub(crate) fn integer(&mut self) -> Result<i64, Malformed> {
        let raw = self.varint()?;
        let magnitude = i64::try_from(raw >> 1).map_err(|_| Malformed)?;
        Ok(if raw & 1 == 0 { magnitude } else { !magnitude })
    }

    /// Skips the value of a field of type `kind`.
    pub(crate) fn skip(&mut self, kind: Kind) -> Result<(), Malformed> {
        match kind {
            // The type of a boolean field is its value.
            Kind::True | Kind::False => Ok(()),
            Kind::I8 => self.advance(1),
            Kind::I16 | Kind::I32 | Kind::I64 => self.varint().map(drop),
            Kind::Double => self.advance(8),
            Kind::Uuid => self.advance(16),
            Kind::Binary => {
                let length = self.varint()?;
                self.advance(usize::try_from(length).map_err(|_| Malformed)?)
            }
            Kind::List | Kind::Set => {
                let (count, kind) = self.list()?;
                self.nested(|reader| (0..count).try_for_each(|_| reader.skip_element(kind)))
            }
            Kind::Map => {
                let count = self.count_of(Self::varint)?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                let (key, value) = (
                    Kind::from_nibble(kinds >> 4)?,
                    Kind::from_nibble(kinds & 15)?,
                );
                self.nested(|reader| {
                    (0..count).try_for_each(|_| {
                        reader.skip_element(key)?;
                        reader.skip_element(value)
                    })
                })
            }
            Kind::Struct => self.fields(Self::skip_field),
        }
    }

    fn skip_field(&mut self, _id: i16, kind: Kind) -> Result<(), Malformed> {
        self.skip(kind)
    }

    /// Skips a value inside a collection, where a boolean has a byte of its own.
    fn skip_element(&mut self, kind: Kind) -> Result<(), Malformed> {
        match kind {
            Kind::True | Kind::False => self.advance(1),
            _ => self.skip(kind),
        }
    }

    fn list(&mut self) -> Result<(usize, Kind), Malformed> {
        let head = self.byte()?;
        let kind = Kind::from_nibble(head & 15)?;
        let count = self.count_of(|reader| match head >> 4 {
            15 => reader.varint(),
            short => Ok(u64::from(short)),
        })?;
        Ok((count, kind))
    }

    /// Refuses a count of elements that the rest of the input cannot hold.
    fn count_of(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<u64, Malformed>,
    ) -> Result<usize, Malformed> {
        let count = usize::try_from(read(self)?).map_err(|_| Malformed)?;
        if count > self.bytes.len() - self.at {
            return Err(Malformed);
        }
        Ok(count)
    }

    fn nested(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        if self.depth == DEPTH_MAX {
            return Err(Malformed);
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 127);
            if shift == 63 && bits > 1 {
                return Err(Malformed);
            }
            value |= bits << shift;
            if byte < 128 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = *self.bytes.get(self.at).ok_or(Malformed)?;
        self.at += 1;
        Ok(byte)
    }

    fn advance(&mut self, count: usize) -> Result<(), Malformed> {
        if count > self.bytes.len() - self.at {
            return Err(Malformed);
        }
        self.at += count;
        Ok(())
    }
}
