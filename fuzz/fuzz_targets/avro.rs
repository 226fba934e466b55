//! Avro containers: any bytes give records or an error, and an edited container is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_tables::avro::{Edits, Error, Record, Selection, Step, Value, read, rewrite};

const STATUS: &[Step] = &[Step::new(0, "status")];
const FILE_PATH: &[Step] = &[Step::new(2, "data_file"), Step::new(100, "file_path")];
const BOUND: &[Step] = &[
    Step::new(2, "data_file"),
    Step::new(125, "lower_bounds"),
    Step::new(127, "value"),
];

fuzz_target!(|data: &[u8]| {
    whole(data);
    // As the schema and one block of a container, so that neither magic nor markers need be guessed.
    let schema = data.len() * usize::from(data.first().copied().unwrap_or(0)) / 255;
    let (schema, block) = data.split_at(schema);
    let mut file = b"Obj\x01".to_vec();
    put_long(&mut file, 1);
    for bytes in [b"avro.schema", schema] {
        put_long(&mut file, bytes.len());
        file.extend_from_slice(bytes);
    }
    file.push(0);
    file.extend_from_slice(&[7; 16]);
    put_long(&mut file, 1);
    put_long(&mut file, block.len());
    file.extend_from_slice(block);
    file.extend_from_slice(&[7; 16]);
    whole(&file);
});

fn put_long(out: &mut Vec<u8>, value: usize) {
    let mut rest = (value as u64) << 1;
    while rest > 0x7f {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Makes texts longer, numbers smaller, and removes what an empty text is in.
fn edit(record: &Record<'_>, edits: &mut Edits) -> Result<(), Error> {
    for found in record.found() {
        match record.value(found) {
            Value::Text([]) | Value::Bytes([]) if found.item().is_some() => {
                edits.remove_item(found)?;
            }
            Value::Text(bytes) | Value::Bytes(bytes) => {
                edits.set_bytes(found, &[bytes, b"/longer"].concat())?;
            }
            Value::Long(number) => drop(edits.set_long(found, number / 2)),
            Value::Null | Value::Other => {}
        }
    }
    Ok(())
}

fn whole(file: &[u8]) {
    let selection = Selection::new(&[STATUS, FILE_PATH, BOUND]);
    let count = |file: &[u8]| {
        let mut records = 0_u64;
        read(file, &selection, |_| {
            records += 1;
            Ok::<(), Error>(())
        })
        .map(|()| records)
    };
    let records = count(file);
    match rewrite(file, &selection, edit) {
        Ok(Some(edited)) => assert_eq!(count(&edited), records, "an edit loses records"),
        Ok(None) => assert!(records.is_ok(), "it is edited and cannot be read"),
        Err(_) => assert!(
            records.is_err() || matches!(rewrite(file, &selection, edit), Err(Error::Edit(_)))
        ),
    }
}
