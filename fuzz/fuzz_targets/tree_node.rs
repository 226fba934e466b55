//! A node of a directory: names that are accepted can be joined to a path.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_format::tree::{Node, NodeBuilder};

fuzz_target!(|data: &[u8]| {
    let Ok(node) = Node::decode(data) else {
        return;
    };
    let mut builder = NodeBuilder::default();
    let again = match &node {
        Node::Leaf(entries) => {
            entries.iter().for_each(|entry| builder.push_entry(entry));
            harmless(entries.iter().map(|entry| &entry.name));
            builder.take_leaf()
        }
        Node::Interior(children) => {
            children.iter().for_each(|child| builder.push_child(child));
            harmless(children.iter().map(|child| &child.last));
            builder.take_interior()
        }
    };
    assert!(Node::decode(&again).expect("its own bytes") == node);
});

fn harmless<'a>(names: impl Iterator<Item = &'a Vec<u8>>) {
    let mut before: &[u8] = b"";
    for name in names {
        assert!(before < name.as_slice() && name != b"." && name != b"..");
        assert!(!name.contains(&0) && !name.contains(&b'/'));
        before = name;
    }
}
