use proptest::prelude::*;

use super::{Child, Entry, EntryType, Node, NodeBuilder, Timestamp};
use crate::codec::{decode_cbor, encode_cbor};
use crate::id::BlobId;
use crate::limits::NODE_MAX;
use crate::sample;

fn file(name: &[u8]) -> Entry {
    Entry {
        mode: 0o644,
        ..Entry::new(name, EntryType::File)
    }
}

fn leaf(entries: &[Entry]) -> Vec<u8> {
    let mut builder = NodeBuilder::default();
    entries.iter().for_each(|entry| builder.push_entry(entry));
    assert_eq!(builder.count(), entries.len() as u64);
    let node = builder.take_leaf();
    assert!(builder.is_empty());
    let left = builder.len();
    assert_eq!(left, 0);
    node
}

fn leaf_of(names: &[&[u8]]) -> Vec<u8> {
    leaf(&names.iter().map(|name| file(name)).collect::<Vec<_>>())
}

fn interior_of(names: &[&[u8]]) -> Vec<u8> {
    let mut builder = NodeBuilder::default();
    for name in names {
        builder.push_child(&Child {
            last: name.to_vec(),
            node: BlobId([1; 32]),
            entries: 1,
        });
    }
    builder.take_interior()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_entry_is_decoded_as_encoded(entry in sample::entry()) {
        prop_assert_eq!(decode_cbor::<Entry>("entry", &encode_cbor(&entry)).unwrap(), entry);
    }

    #[test]
    fn a_leaf_is_decoded_as_encoded(entries in sample::entries()) {
        prop_assert_eq!(Node::decode(&leaf(&entries)).unwrap(), Node::Leaf(entries));
    }

    #[test]
    fn an_interior_node_is_decoded_as_encoded(children in sample::children()) {
        let mut builder = NodeBuilder::default();
        children.iter().for_each(|child| builder.push_child(child));
        let node = Node::decode(&builder.take_interior()).unwrap();
        prop_assert_eq!(node, Node::Interior(children));
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        kind in 0u8..3,
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = Node::decode(&[&[kind][..], &bytes].concat()).is_ok();
    }

    #[test]
    fn a_damaged_node_never_panics(
        entries in sample::entries(),
        at in any::<usize>(),
        byte in any::<u8>(),
    ) {
        let mut node = leaf(&entries);
        let at = at % node.len();
        node[at] = byte;
        let _ = Node::decode(&node).is_ok();
        prop_assert!(Node::decode(&node[..at]).is_err());
    }
}

#[test]
fn names_that_leave_a_directory_are_refused() {
    let bad: [&[u8]; 10] = [
        b"",
        b".",
        b"..",
        b"/",
        b"a/b",
        b"/etc/passwd",
        b"../x",
        b"a\0",
        b"\0",
        b"a/",
    ];
    for name in bad {
        assert!(Node::decode(&leaf_of(&[name])).is_err(), "{name:?}");
        assert!(Node::decode(&interior_of(&[name])).is_err(), "{name:?}");
    }
    let good: [&[u8]; 6] = [b"a", b"...", b"..a", b".a", b"\\", b"\xff\xfe"];
    for name in good {
        Node::decode(&leaf_of(&[name])).unwrap();
    }
}

#[test]
fn names_out_of_order_or_repeated_are_refused() {
    for names in [[&b"b"[..], b"a"], [b"a", b"a"], [b"ab", b"a"], [b"a", b"B"]] {
        assert!(Node::decode(&leaf_of(&names)).is_err(), "{names:?}");
        assert!(Node::decode(&interior_of(&names)).is_err(), "{names:?}");
    }
    for names in [[&b"a"[..], b"ab"], [b"B", b"a"], [b"a", b"\xff"]] {
        Node::decode(&leaf_of(&names)).unwrap();
    }
}

#[test]
fn times_out_of_range_are_refused() {
    let bad = Timestamp {
        seconds: 0,
        nanos: 1_000_000_000,
    };
    let mut entry = file(b"a");
    entry.mtime = bad;
    assert!(Node::decode(&leaf(std::slice::from_ref(&entry))).is_err());
    entry.mtime = Timestamp::default();
    entry.ctime = Some(bad);
    assert!(Node::decode(&leaf(&[entry])).is_err());
}

#[test]
fn unknown_keys_are_skipped_and_unknown_types_are_not() {
    let entry = file(b"a");
    let mut item = encode_cbor(&entry);
    assert_eq!(item[0], 0xa7, "a map of seven");
    item[0] = 0xa8;
    item.extend_from_slice(b"\x18\x63\x82\x01\x9f\x02\xff");
    let node = [&[0, 0x81][..], &item].concat();
    assert_eq!(
        Node::decode(&node).unwrap(),
        Node::Leaf(vec![entry.clone()])
    );
    assert!(Node::decode(&[2, 0x80]).is_err());
    assert!(Node::decode(&[]).is_err());
    // Key 1, the type, follows the name: 0xa7 00 41 61 01 type.
    let mut node = leaf(&[entry]);
    assert_eq!(node[6..8], [1, 0]);
    node[7] = 6;
    assert!(Node::decode(&node).is_err());
}

#[test]
fn a_node_that_is_too_long_is_refused() {
    let mut entry = file(b"a");
    entry.target = Some(vec![b'x'; NODE_MAX]);
    assert!(Node::decode(&leaf(&[entry])).is_err());
}

#[test]
fn a_count_without_its_items_fails_early() {
    assert!(Node::decode(b"\x00\x9b\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
    assert!(Node::decode(b"\x00\x81\xbb\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
    let deep = [&[0u8, 0x81, 0xa1, 0x18, 0x63][..], &[0x81; 100_000]].concat();
    assert!(Node::decode(&deep).is_err());
}
