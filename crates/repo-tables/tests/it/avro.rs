//! Containers of random schemas: what is not edited keeps its bytes, and edits are what a model says.

use std::ops::ControlFlow;

use proptest::prelude::*;
use proptest::test_runner::Config;
use repo_tables::avro::{Edits, Error, Record, Selection, Step, Value as Read, read, rewrite};
use serde_json::{Value as Json, json};

use crate::avro_writer::{Value, container, raw_container};

/// A type to make a schema and values of.
#[derive(Debug, Clone)]
pub(crate) enum Of {
    Null,
    Boolean,
    Long,
    Int,
    Double,
    Text,
    Bytes,
    Fixed(usize),
    Optional(Box<Self>),
    Array(Box<Self>),
    Map(Box<Self>),
    Record(Vec<Self>),
}

pub(crate) fn of() -> impl Strategy<Value = Of> {
    let leaf = prop_oneof![
        Just(Of::Null),
        Just(Of::Boolean),
        Just(Of::Long),
        Just(Of::Int),
        Just(Of::Double),
        Just(Of::Text),
        Just(Of::Text),
        Just(Of::Bytes),
        (0_usize..9).prop_map(Of::Fixed),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            inner.clone().prop_map(|of| Of::Optional(Box::new(of))),
            inner.clone().prop_map(|of| Of::Array(Box::new(of))),
            inner.clone().prop_map(|of| Of::Map(Box::new(of))),
            prop::collection::vec(inner, 0..6).prop_map(Of::Record),
        ]
    })
}

/// The schema of a type. Every record has a name of its own, every field the number of its place.
pub(crate) fn schema(of: &Of, names: &mut u32) -> Json {
    *names += 1;
    let name = format!("n{names}");
    match of {
        Of::Null => json!("null"),
        Of::Boolean => json!("boolean"),
        Of::Long => json!({"type": "long", "logicalType": "timestamp-micros"}),
        Of::Int => json!("int"),
        Of::Double => json!("double"),
        Of::Text => json!("string"),
        Of::Bytes => json!("bytes"),
        Of::Fixed(size) => json!({"type": "fixed", "name": name, "size": size}),
        // A union may not hold a union: the inner one is wrapped in a record.
        Of::Optional(inner) => match **inner {
            Of::Optional(_) | Of::Null => json!(["null", {
                "type": "record", "name": name,
                "fields": [{"name": "f0", "field-id": 0, "type": schema(inner, names)}],
            }]),
            _ => json!(["null", schema(inner, names)]),
        },
        Of::Array(inner) => json!({"type": "array", "items": schema(inner, names)}),
        Of::Map(inner) => json!({"type": "map", "values": schema(inner, names)}),
        Of::Record(fields) => {
            let fields: Vec<Json> = fields
                .iter()
                .enumerate()
                .map(|(id, of)| {
                    json!({"name": format!("f{id}"), "field-id": id, "type": schema(of, names)})
                })
                .collect();
            json!({"type": "record", "name": name, "fields": fields})
        }
    }
}

pub(crate) fn value(of: &Of) -> BoxedStrategy<Value> {
    match of {
        Of::Null => Just(Value::Null).boxed(),
        Of::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        Of::Long => any::<i64>().prop_map(Value::Long).boxed(),
        Of::Int => any::<i32>().prop_map(|v| Value::Long(v.into())).boxed(),
        Of::Double => any::<f64>().prop_map(Value::Double).boxed(),
        Of::Text | Of::Bytes => prop::collection::vec(any::<u8>(), 0..70)
            .prop_map(Value::Text)
            .boxed(),
        Of::Fixed(size) => prop::collection::vec(any::<u8>(), *size)
            .prop_map(Value::Fixed)
            .boxed(),
        Of::Optional(inner) => {
            let wrapped = matches!(**inner, Of::Optional(_) | Of::Null);
            let some = value(inner).prop_map(move |inner| {
                if wrapped {
                    Value::Record(vec![inner]).some()
                } else {
                    inner.some()
                }
            });
            prop_oneof![Just(Value::none()), some].boxed()
        }
        Of::Array(inner) => blocks(value(inner).prop_map(|item| (None, item)).boxed()),
        Of::Map(inner) => blocks(
            ("[a-z]{0,9}", value(inner))
                .prop_map(|(key, item)| (Some(key), item))
                .boxed(),
        ),
        Of::Record(fields) => {
            let fields: Vec<_> = fields.iter().map(value).collect();
            fields.prop_map(Value::Record).boxed()
        }
    }
}

fn blocks(item: BoxedStrategy<(Option<String>, Value)>) -> BoxedStrategy<Value> {
    let items = prop::collection::vec(item, 1..4);
    prop::collection::vec((any::<bool>(), items), 0..3)
        .prop_map(Value::Blocks)
        .boxed()
}

const STEPS: [Step; 6] = [
    Step::new(0, "f0"),
    Step::new(1, "f1"),
    Step::new(2, "f2"),
    Step::new(3, "f3"),
    Step::new(4, "f4"),
    Step::new(5, "f5"),
];

/// A case: a schema, a codec, blocks of records, and the paths to be edited.
#[derive(Debug, Clone)]
struct Case {
    schema: String,
    codec: &'static str,
    blocks: Vec<Vec<Value>>,
    paths: Vec<Vec<usize>>,
}

fn case() -> impl Strategy<Value = Case> {
    let root = prop::collection::vec(of(), 1..6).prop_map(Of::Record);
    let codec = prop::sample::select(vec!["null", "deflate", "snappy", "zstandard"]);
    let paths = prop::collection::vec(prop::collection::vec(0_usize..6, 1..5), 1..8);
    (root, codec, paths).prop_flat_map(|(root, codec, paths)| {
        let schema = schema(&root, &mut 0).to_string();
        let records = prop::collection::vec(value(&root), 0..4);
        prop::collection::vec(records, 0..3).prop_map(move |blocks| Case {
            schema: schema.clone(),
            codec,
            blocks,
            paths: paths.clone(),
        })
    })
}

/// What an edit does to text: removes the innermost item around it, changes it, or leaves it.
enum Fate {
    Remove,
    Change(Vec<u8>),
    Keep,
}

fn fate(text: &[u8]) -> Fate {
    match text.iter().map(|byte| u32::from(*byte)).sum::<u32>() % 4 {
        0 => Fate::Remove,
        1 => Fate::Change([text, &[b'x'; 100]].concat()),
        2 => Fate::Change(text.iter().take(1).copied().collect()),
        _ => Fate::Keep,
    }
}

/// Does to the model what `edit` does to a record. Break: the item it is in goes.
fn model(value: &mut Value, at: &[usize], paths: &[Vec<usize>], in_item: bool) -> ControlFlow<()> {
    let wanted = paths.iter().any(|path| path == at);
    match value {
        Value::Text(text) if wanted => match fate(text) {
            Fate::Remove if in_item => return ControlFlow::Break(()),
            Fate::Change(with) => *text = with,
            _ => {}
        },
        Value::Long(number) if wanted => *number /= 2,
        Value::Union(_, inner) => return model(inner, at, paths, in_item),
        Value::Record(fields) => {
            let mut gone = false;
            for (id, field) in fields.iter_mut().enumerate() {
                let at = [at, &[id]].concat();
                gone |= model(field, &at, paths, in_item).is_break();
            }
            if gone {
                return ControlFlow::Break(());
            }
        }
        Value::Blocks(blocks) => {
            for (_, items) in blocks {
                items.retain_mut(|(_, item)| model(item, at, paths, true).is_continue());
            }
        }
        _ => {}
    }
    ControlFlow::Continue(())
}

fn edit(record: &Record<'_>, edits: &mut Edits) -> Result<(), Error> {
    for found in record.found() {
        match record.value(found) {
            Read::Text(text) | Read::Bytes(text) => match fate(text) {
                Fate::Remove if found.item().is_some() => edits.remove_item(found)?,
                Fate::Change(with) => edits.set_bytes(found, &with)?,
                _ => {}
            },
            Read::Long(number) => edits.set_long(found, number / 2)?,
            Read::Null | Read::Other => {}
        }
    }
    Ok(())
}

fn check(case: &Case) {
    let file = container(&case.schema, case.codec, &case.blocks);
    let paths: Vec<Vec<Step>> = case
        .paths
        .iter()
        .map(|path| path.iter().map(|step| STEPS[*step]).collect())
        .collect();
    let slices: Vec<&[Step]> = paths.iter().map(Vec::as_slice).collect();
    let selection = Selection::new(&slices);

    // Giving every field the value it has changes nothing.
    let kept = rewrite(&file, &selection, |record, edits| {
        for found in record.found() {
            match record.value(found) {
                Read::Text(value) | Read::Bytes(value) => edits.set_bytes(found, value)?,
                Read::Long(value) => edits.set_long(found, value)?,
                Read::Null | Read::Other => {}
            }
        }
        Ok::<(), Error>(())
    });
    assert_eq!(kept, Ok(None));

    let rewritten = rewrite(&file, &selection, edit).expect("a valid container");
    let mut blocks = case.blocks.clone();
    for record in blocks.iter_mut().flatten() {
        assert!(model(record, &[], &case.paths, false).is_continue());
    }
    let expected = plain(&container(&case.schema, "null", &blocks));
    let rewritten = rewritten.unwrap_or(file);
    assert_eq!(plain(&rewritten), expected);
}

/// The records of a container one after the other, decompressed.
fn plain(file: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    read(file, &Selection::new(&[]), |record| {
        out.extend_from_slice(record.encoded());
        Ok::<(), Error>(())
    })
    .expect("a container");
    out
}

proptest! {
    #![proptest_config(Config::with_cases(600))]

    #[test]
    fn edits_change_what_they_name_and_nothing_else(case in case()) {
        check(&case);
    }

    #[test]
    fn damaged_containers_are_errors_and_never_panics(
        case in case(),
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut file = container(&case.schema, case.codec, &case.blocks);
        let selection = Selection::new(&[&STEPS[..1], &STEPS[1..2]]);
        file.truncate(cut.index(file.len()) + 1);
        let at = at.index(file.len());
        file[at] ^= with;
        // Whatever it gives: it ends, and within its limits.
        let outcome = rewrite(&file, &selection, edit);
        prop_assert!(outcome.is_ok() || outcome.is_err());
    }
}

fn reads(file: &[u8]) -> Result<usize, Error> {
    let mut records = 0;
    read(file, &Selection::new(&[&STEPS[..1]]), |_| {
        records += 1;
        Ok::<(), Error>(())
    })?;
    Ok(records)
}

#[test]
fn hostile_lengths_and_counts_are_refused() {
    let text = r#"{"type":"record","name":"r","fields":[{"name":"f0","type":"string"}]}"#;
    let huge = |bytes: &[u8]| reads(&raw_container(text, "null", &[(1, bytes.to_vec())]));
    // A text of 2^62 bytes, and one of less than none.
    let long = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00];
    assert!(matches!(huge(&long), Err(Error::Truncated { .. })));
    assert!(matches!(huge(&[1]), Err(Error::Malformed(_))));
    let more = raw_container(text, "null", &[(1, vec![0, 0])]);
    assert!(matches!(reads(&more), Err(Error::Malformed(_))));

    // Values of no bytes, as many as can be counted.
    let nulls = r#"{"type":"array","items":"null"}"#;
    let mut count = Vec::new();
    crate::avro_writer::put_long(&mut count, i64::MAX);
    let many = raw_container(nulls, "null", &[(1, count)]);
    assert!(matches!(reads(&many), Err(Error::Malformed(_))));
    let records = raw_container("\"null\"", "null", &[(usize::MAX >> 1, Vec::new())]);
    assert!(matches!(reads(&records), Err(Error::Malformed(_))));
}

#[test]
fn recursion_ends() {
    // A record that holds itself has no end; a list of lists may be as deep as it has bytes.
    let own = r#"{"type":"record","name":"r","fields":[{"name":"f0","type":"r"}]}"#;
    let file = raw_container(own, "null", &[(1, vec![0])]);
    assert!(matches!(reads(&file), Err(Error::Malformed(_))));
    let list = r#"{"type":"record","name":"r","fields":[{"name":"f0","type":["null","r"]}]}"#;
    let deep = raw_container(list, "null", &[(1, vec![2; 100_000])]);
    assert!(matches!(reads(&deep), Err(Error::Malformed(_))));
    let shallow = raw_container(list, "null", &[(1, vec![2, 2, 2, 0])]);
    assert_eq!(reads(&shallow), Ok(1));
    let nested = "[".repeat(1000);
    assert!(matches!(
        reads(&raw_container(&nested, "null", &[])),
        Err(Error::Schema(_))
    ));
}

#[test]
fn what_is_no_container_is_named() {
    assert_eq!(reads(b"PAR1"), Err(Error::NotContainer));
    assert_eq!(reads(b""), Err(Error::NotContainer));
    let schema = "\"long\"";
    let file = container(schema, "null", &[vec![Value::Long(7)]]);
    assert_eq!(reads(&file), Ok(1));
    for length in 4..file.len() {
        let cut = reads(&file[..length]);
        // A cut between header and blocks is a container without records.
        assert!(cut.is_err() || cut == Ok(0), "{length}: {cut:?}");
    }
    let codec = raw_container(schema, "null", &[]);
    let text = String::from_utf8(codec).expect("ascii");
    let unknown = text.replace("\x08null", "\x08lzma");
    assert_eq!(
        reads(unknown.as_bytes()),
        Err(Error::UnknownCodec("lzma".to_owned()))
    );
    let mut other = file;
    *other.last_mut().expect("a byte") ^= 1;
    assert!(matches!(reads(&other), Err(Error::Malformed(_))));
}

#[test]
fn fields_without_ids_are_found_by_name() {
    let schema = r#"{"type":"record","name":"a.b.r","fields":[
        {"name":"other","type":{"type":"fixed","name":"id","size":2}},
        {"name":"f1","type":["null","long"]},{"name":"again","type":"a.b.id"}]}"#;
    let record = Value::Record(vec![
        Value::Fixed(vec![1, 2]),
        Value::Long(-5).some(),
        Value::Fixed(vec![3, 4]),
    ]);
    let file = container(schema, "null", &[vec![record]]);
    let mut found = Vec::new();
    read(&file, &Selection::new(&[&STEPS[1..2]]), |record| {
        found.push(record.long(0));
        Ok::<(), Error>(())
    })
    .expect("a container");
    assert_eq!(found, [Some(-5)]);
}
