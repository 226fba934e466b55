use proptest::prelude::*;

use super::{Cursor, push_varint};

fn read(bytes: &[u8]) -> Option<u64> {
    let mut cursor = Cursor::new("test", bytes);
    let value = cursor.varint().ok()?;
    cursor.finish().ok()?;
    Some(value)
}

proptest! {
    #[test]
    fn a_varint_is_read_as_written(value in any::<u64>(), shift in 0u32..64) {
        let value = value >> shift;
        let mut bytes = Vec::new();
        push_varint(&mut bytes, value);
        prop_assert_eq!(read(&bytes), Some(value));
        prop_assert!(bytes.len() <= 10);
    }

    #[test]
    fn a_value_has_one_encoding(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
        if let Some(value) = read(&bytes) {
            let mut again = Vec::new();
            push_varint(&mut again, value);
            prop_assert_eq!(again, bytes);
        }
    }
}

#[test]
fn edges_of_a_varint() {
    let max = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert_eq!(read(&max), Some(u64::MAX));
    assert_eq!(read(&[0]), Some(0));
    let mut above = max;
    above[9] = 2;
    assert_eq!(read(&above), None);
    assert_eq!(read(&[0xff; 11]), None);
    assert_eq!(read(&[0x80, 0]), None);
    assert_eq!(read(&[]), None);
}

#[test]
fn nothing_is_read_past_the_end() {
    let mut cursor = Cursor::new("test", &[1, 2, 3]);
    assert!(cursor.u32().is_err());
    assert!(cursor.take(4).is_err());
    assert!(cursor.take(usize::MAX).is_err());
    assert_eq!(cursor.take(3).unwrap(), [1, 2, 3]);
    assert!(cursor.u8().is_err());
    cursor.finish().unwrap();
}
