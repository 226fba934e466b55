//! Reading positions: varints and spans of a slice, never past its end.

use std::ops::Range;

use super::{Error, Result};

/// A position in bytes.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Goes on from a place known to be inside.
    pub(super) fn skip(&mut self, to: usize) {
        self.at = to.min(self.bytes.len());
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(super) fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8]> {
        let at = self.at;
        let end = at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(at..end));
        let taken = taken.ok_or(Error::Truncated { what, at })?;
        self.at += count;
        Ok(taken)
    }

    /// A zigzag varint of at most 64 bits.
    pub(super) fn long(&mut self) -> Result<i64> {
        let at = self.at;
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let truncated = Error::Truncated { what: "number", at };
            let byte = *self.bytes.get(self.at).ok_or(truncated)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                if shift == 63 && byte > 1 {
                    break;
                }
                return Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
            }
        }
        Err(Error::Malformed("a number of more than 64 bits"))
    }

    /// A length that is not negative; whether so much is left is asked when it is taken.
    pub(super) fn length(&mut self) -> Result<usize> {
        usize::try_from(self.long()?).map_err(|_| Error::Malformed("a negative length"))
    }

    /// The span of bytes or text behind its length.
    pub(super) fn sized(&mut self, what: &'static str) -> Result<Range<usize>> {
        let length = self.length()?;
        let start = self.at;
        self.take(length, what)?;
        Ok(start..self.at)
    }
}

/// Appends a zigzag varint.
pub(super) fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_overlong_ones_do_not() {
        for value in [0, -1, 1, 63, 64, -65, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_long(&mut out, value);
            let mut cursor = Cursor::new(&out);
            assert_eq!(cursor.long(), Ok(value));
            assert!(cursor.is_at_end());
            out.pop();
            assert!(Cursor::new(&out).long().is_err(), "{value} cut off");
        }
        let mut long = vec![0xff; 9];
        long.push(2);
        assert!(Cursor::new(&long).long().is_err());
        assert!(Cursor::new(&[0xff; 20]).long().is_err());
    }
}
